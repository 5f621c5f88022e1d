"""Soft token pruning as a method: what a weights file says of it, and how a model is built, set and run with it.

Keeps the contract of `core.methods.Method`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.config import KEEP_RANGE, THRESHOLD_RANGE, ModelSpec
from core.costs.geometry import Geometry
from core.errors import InputError
from core.families.base import Backbone
from core.results import MacCount
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import Decide, decision
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.places import usual_places
from core.soft_tokens.schedules import schedule_macs
from core.soft_tokens.stages import Stage, image_macs

NAME, TITLE = "tokens", "Soft token pruning"
COMMAND = "finetune"
RANGES = {"keep": KEEP_RANGE, "threshold": THRESHOLD_RANGE}
USUAL_RANKINGS = 3
"""Where only an attention mass is given."""


@dataclass(frozen=True)
class SelectorCard:
    """Where the token selectors of a model stand, and whether they were trained."""

    blocks: tuple[int, ...]
    """Each stands before this block."""
    targets: tuple[float, ...]
    """Share of the original patches that each was trained to leave alive."""
    trained: bool
    """Met its targets on held-out photos with deterministic decisions, and beat random dropping there."""
    ranked: bool = False
    """There are none: patches rank by class attention, which takes no training. Never stored."""

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.targets):
            raise ValueError(f"{len(self.targets)} targets for {len(self.blocks)} selectors")
        if list(self.blocks) != sorted(set(self.blocks)) or (self.blocks and self.blocks[0] < 0):
            raise ValueError(f"selectors before blocks {self.blocks}")
        if not all(0 < target <= 1 for target in self.targets):
            raise ValueError(f"targets {self.targets} are no shares")


PARTS = {"selectors": SelectorCard}


def build(model: Backbone, geometry: Geometry, part: SelectorCard) -> SoftTokenViT:
    """Fresh selectors in a model, dense or compact."""
    return SoftTokenViT(model, part.blocks, heads=geometry.heads)


def asks(spec: ModelSpec, model: nn.Module, geometry: Geometry, part: SelectorCard | None, *, alone: bool) -> bool:
    """Whether the settings ask for rankings in a model that has no selectors.

    Raises:
        InputError: If a setting does not fit the model.
    """
    if isinstance(model, SoftTokenViT):
        if spec.blocks is not None:
            raise InputError(f"{spec.name} has selectors before blocks {list(model.blocks)}; omit --blocks.")
        if spec.mass is not None:
            raise InputError(f"{spec.name} has selectors, which give no attention; use a keep ratio or a threshold.")
        return False
    if spec.threshold is not None:
        raise InputError(
            f"{spec.name} has no token selectors, so there is no keep probability to take a threshold on; "
            "use a keep ratio or an attention mass."
        )
    if spec.keep is None and spec.mass is None:
        if spec.blocks is not None:
            raise InputError("Blocks to rank patches before need a keep ratio for each, or an attention mass.")
        if spec.packaging != ModelSpec.packaging:
            raise InputError(f"{spec.name} folds no patches, so it takes no packaging; give a keep ratio, too.")
        return False
    return True


def put_in(spec: ModelSpec, model: nn.Module) -> tuple[SoftTokenViT, dict[str, Any]]:
    """Rankings by class attention in a model, as the settings ask for them, and what its card says of them.

    Raises:
        InputError: If the model has gates, or a setting does not fit it.
    """
    if isinstance(model, SinglePathViT):
        raise InputError(
            f"{spec.name} is a single-path model before a budget is chosen; export one budget to a file of its own, "
            "which takes a keep ratio, too."
        )
    blocks = spec.blocks or usual_places(model, USUAL_RANKINGS if spec.keep is None else len(spec.keep))
    made = SoftTokenViT(model, blocks, ranked=True)
    decision(spec, len(made.blocks), made.patches)  # refuses what does not fit
    return made, {"selectors": SelectorCard(made.blocks, spec.keep or (1.0,) * len(blocks), False, True)}


def finish(
    spec: ModelSpec, model: SoftTokenViT, geometry: Geometry, part: SelectorCard
) -> tuple[SoftTokenViT, dict[str, Any]]:
    """The model deciding and folding as the settings say, frozen; in place.

    Raises:
        InputError: If a setting does not fit it.
    """
    set_decision(spec, model)
    model.eval().requires_grad_(False)
    return model.fold(), {}


def set_decision(spec: ModelSpec, model: SoftTokenViT) -> None:
    """How this model decides and folds.

    Raises:
        InputError: If a setting does not fit it.
    """
    model.decide = decision(spec, len(model.blocks), model.patches)
    model.packaging = spec.packaging


def macs(model: SoftTokenViT, geometry: Geometry, keep: tuple[float, ...] | None) -> MacCount | None:
    """MACs of one image at these shares of the original patches; None where they differ from image to image.

    In windows they always do, by where the kept patches lie.
    """
    return None if keep is None or geometry.windows() else schedule_macs(geometry, model.blocks, keep, model.layers)


def counts_kept(stages: Sequence[Stage]) -> Tensor:
    """Patches kept behind each selector, (B, S)."""
    return torch.stack([stage.kept.sum(dim=1) for stage in stages], dim=1)


def token_runner(
    model: SoftTokenViT,
    geometry: Geometry,
    decide: Decide | None = None,
    what: Callable[[Sequence[Stage]], Tensor] = counts_kept,
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]:
    """A `core.models.runners.Runner` for a model with selectors: each image has its own cost.

    Args:
        model: With selectors.
        geometry: Of it.
        decide: Replaces the model's own decision.
        what: Of what its stages did, per image, is told as kept.
    """

    def run(images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        logits, stages = model.run(images, decide)
        macs = [count.total for count in image_macs(geometry, model.blocks, stages, model.layers)]
        return logits, torch.tensor(macs, dtype=torch.float64, device=images.device), what(stages)

    return run
