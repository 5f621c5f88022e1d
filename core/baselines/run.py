"""A batch under a plan, whichever peer it is of."""

import hashlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from core.baselines.dropping import dropping_forward
from core.baselines.grouping import Grouping
from core.baselines.inattentive import inattentive_forward
from core.baselines.merging import merging_forward
from core.baselines.plans import Plan
from core.families.base import Backbone
from core.models.runners import Baseline, Runner, dense_runner


def run_plan(
    model: Backbone,
    plan: Plan,
    images: Tensor,
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    record: bool = True,
) -> tuple[Tensor, Grouping | None]:
    """Logits (B, C), and which token each patch is in at the end; None unless `record`.

    Args:
        model: Dense, of a family with `BASELINES`, in evaluation mode; only read.
        plan: For a model of this geometry.
        images: (B, 3, H, W), normalised.
        generator: Of the random choice, or one for each image; the other peers do not touch it.
        record: False: the logits alone, a little sooner.
    """
    if plan.peer == "tome":
        return merging_forward(model, images, plan.amounts, record=record)
    keep = dict(zip(plan.blocks, plan.amounts, strict=True))
    if plan.peer == "evit":
        return inattentive_forward(model, images, keep, record=record)
    return dropping_forward(model, images, keep, generator, record=record)


def peer_runner(model: Backbone, plan: Plan, seed: int = 0) -> Runner:
    """How to evaluate a peer on a folder of photos: all photos cost the same.

    What is random follows from the seed and the photo's pixels alone: it does not matter in which batch, or on which of
    several processes, a photo is seen. Only the peer that draws waits for that, and it is not in its time.
    """

    def by(generators: Sequence[torch.Generator]) -> Runner:
        return dense_runner(lambda images: run_plan(model, plan, images, generators, record=False)[0], plan.macs.total)

    if plan.peer != "random-dense":
        return by(())
    return Baseline(lambda images: partial(by([_generator(image, seed) for image in images]), images))


def _generator(image: Tensor, seed: int) -> torch.Generator:
    pixels = image.cpu().numpy().tobytes()
    drawn = hashlib.sha256(str(seed).encode() + pixels).digest()
    return torch.Generator().manual_seed(int.from_bytes(drawn[:7], "big"))
