"""How a model runs over a batch of photos: answers, what each photo cost, and what it kept."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.models.load import Loaded
from core.models.macs import macs_of
from core.soft_tokens.method import token_runner
from core.soft_tokens.model import SoftTokenViT

Answers = tuple[Tensor, Tensor, Tensor | None]
"""Of a batch: logits (B, C), MACs per image (B,), and patches kept (B, S) or None."""
Runner = Callable[[Tensor], Answers]
"""From images (B, 3, H, W)."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """A runner that is told what to do on these photos by work that is no part of the method that it stands for.

    Our own model's pass, whose counts of patches it is to keep; a hash of each photo, from which a draw is to follow.
    Whoever times it times the run alone.
    """

    prepare: Callable[..., Callable[[], Answers]]
    """What a runner is given, to the run that is timed."""

    def __call__(self, *given: object) -> Answers:
        """Both, as any other runner."""
        return self.prepare(*given)()


def prepared(run: Callable[..., Answers], *given: object) -> Callable[[], Answers]:
    """The run of a runner on what it is given, ready to be timed."""
    return run.prepare(*given) if isinstance(run, Baseline) else partial(run, *given)


def runner_of(loaded: Loaded) -> Runner:
    """A runner for a model as it is, deciding by itself if it has selectors."""
    if isinstance(loaded.model, SoftTokenViT):
        return token_runner(loaded.model, loaded.card.geometry)
    return dense_runner(loaded.model, macs_of(loaded).total)


def dense_runner(model: Callable[[Tensor], Tensor], macs: int) -> Runner:
    """A runner for a model whose cost is the same for every image."""

    def run(images: Tensor) -> Answers:
        return model(images), torch.full((len(images),), float(macs), dtype=torch.float64, device=images.device), None

    return run
