"""One photo under a peer's plan, and how far it goes with the dense model and with our choice of patches."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from core.baselines.grouping import GONE, NEVER
from core.baselines.plans import Plan
from core.baselines.run import run_plan
from core.latency.measure import measure_latency
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results import MacCount, Prediction
from core.results.timings import Latency
from core.soft_tokens.decide import Decide
from core.soft_tokens.model import SoftTokenViT


@dataclass(frozen=True, eq=False)
class PeerTrace:
    """What a peer made of the patches of one photo."""

    plan: Plan
    groups: np.ndarray
    """int (L, N): the token that holds the patch after each block; patches of one number share it; -1: it is gone."""
    left: np.ndarray
    """int (N,): block in which the patch stopped being a token of its own, from 0; -1: it never did."""
    prediction: Prediction
    macs: MacCount
    """Of this image."""
    dense_macs: int

    def __post_init__(self) -> None:
        patches = self.plan.geometry.patches
        if self.groups.shape != (self.plan.geometry.depth, patches) or self.left.shape != (patches,):
            raise ValueError(f"groups {self.groups.shape}, left {self.left.shape} for {patches} patches")
        if ((self.groups[-1] == GONE) & (self.left == NEVER)).any():
            raise ValueError("a patch is in no token and never left")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        return self.plan.geometry.grid

    @property
    def alone(self) -> np.ndarray:
        """bool (N,): the patch is a token of its own to the end."""
        return self.left == NEVER


@torch.inference_mode()
def trace_peer(dense: Loaded, image: Image.Image, plan: Plan, seed: int = 0) -> PeerTrace:
    """The photo through a dense model under a plan.

    Args:
        dense: A model that `core.baselines.dense.check_dense` accepts.
        image: The photo.
        plan: For a model of this geometry.
        seed: Of a random choice.
    """
    images = to_tensor(image, dense.card).to(next(dense.model.parameters()).device)
    logits, groups = run_plan(dense.model, plan, images, torch.Generator().manual_seed(seed))
    history = np.tile(np.arange(plan.geometry.patches) + plan.geometry.prefix_tokens, (plan.geometry.depth, 1))
    assert groups is not None  # as they are recorded
    for block, token in groups.steps:
        history[block:] = token[0].cpu().numpy()
    return PeerTrace(
        plan=plan,
        groups=history,
        left=groups.left[0].cpu().numpy(),
        prediction=Prediction(
            logits[0].double().softmax(dim=-1).cpu().numpy(), dense.card.classes, dense.card.least_share
        ),
        macs=plan.macs,
        dense_macs=dense.dense_macs,
    )


def overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How far two choices of patches, bool (N,), agree: intersection over union, in [0, 1]; 1 if both are empty."""
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0


def peer_latency(
    dense: Loaded, pruned: Loaded, decide: Decide, image: Image.Image, plans: tuple[Plan, ...], repeats: int = 10
) -> tuple[Latency, ...]:
    """Time the dense model, the pruned one and each plan on the photo, taking turns; in that order.

    Args:
        dense: What the plans run on.
        pruned: With token selectors.
        decide: How its scores become decisions.
        image: The photo.
        plans: Of one geometry.
        repeats: Timed passes of each.

    Raises:
        ValueError: If `pruned` has no token selectors.
    """
    selecting = pruned.model
    if not isinstance(selecting, SoftTokenViT):
        raise ValueError(f"{pruned.spec.name} has no token selectors")
    images = to_tensor(image, dense.card).to(next(dense.model.parameters()).device)
    generator = torch.Generator().manual_seed(0)
    works = [dense.model, lambda x: selecting.run(x, decide, record=False)]
    works += [lambda x, plan=plan: run_plan(dense.model, plan, x, generator, record=False) for plan in plans]
    return measure_latency(works, images, repeats=repeats)
