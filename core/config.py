"""Choices that go in: their names, and frozen dataclasses of plain values, safe as cache keys."""

import os
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from core.costs.deit import DeitGeometry

Packaging = Literal["weighted_mean", "weighted_sum"]
Geometry = DeitGeometry
"""Its name here, when there was no other family; for programs that use it."""
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")
"""timm's names for ways to resize a photo."""
Peer = Literal["tome", "evit", "random-dense"]
PEERS: tuple[Peer, ...] = get_args(Peer)
"""Other people's methods; see `core.baselines`."""
Distill = Literal["none", "soft", "hard"]
DISTILL_KINDS: tuple[Distill, ...] = get_args(Distill)
"""What is learned from a teacher; see `core.training.objectives`."""
RankBy = Literal["attention", "saliency", "teacher"]
RANKINGS: tuple[RankBy, ...] = get_args(RankBy)
"""What selectors learn to rank patches by; see `core.training.tokens`."""
LEAST_PHOTOS = 8
"""Photos that gates are scored on, at least: fewer say nothing of a unit that only some photos need."""
USUAL_PHOTOS = 32
"""Photos that gates are scored on, where nobody says otherwise."""
OURS, ONNX = ".safetensors", ".onnx"
"""How files end that are written for use elsewhere; see `core.models.export`."""


@dataclass(frozen=True)
class Normalisation:
    """What turns a photo into the numbers that a model was trained on; the arguments of timm's transform."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_pct: float = 1.0
    """Share of the resized short side that the centre crop keeps."""
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not min(self.std) > 0 or not 0.1 <= self.crop_pct <= 1 or self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"photos cannot be prepared so: {self}")


@dataclass(frozen=True)
class Hints:
    """What a person says of a weights file that does not say it itself."""

    heads: tuple[int, ...] | None = None
    """Attention heads of every block, or of each stage's blocks."""
    arch: str | None = None
    """timm's name for a model of these shapes: it tells heads, pixels, and how photos are prepared."""
    img_size: int | None = None
    """Side of the square input, pixels."""


@dataclass(frozen=True)
class ModelSpec:
    """One model with its settings: the arguments of `core.models.load.load_model`, and every cache's key."""

    name: str
    """A name that `models` lists, or a path, also as a `pathlib.Path`."""
    budget: float | None = None
    """Single-path budget in MACs (not G)."""
    keep: tuple[float, ...] | None = None
    """Per selector: share of the original patches still alive after it, never rising."""
    threshold: float | None = None
    """Keep a patch if its keep probability is above this."""
    packaging: Packaging = "weighted_mean"
    blocks: tuple[int, ...] | None = None
    """Rank patches by class attention before these blocks, from 0, in a model without selectors of its own."""
    mass: float | None = None
    """Keep the fewest patches that hold this share of the class attention, before each of those blocks."""
    heads: tuple[int, ...] | None = None
    """See `Hints`; of a file that does not say it."""
    arch: str | None = None
    """Likewise."""
    img_size: int | None = None
    """Likewise."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))

    @property
    def hints(self) -> Hints:
        """What the spec says of the file."""
        return Hints(self.heads, self.arch, self.img_size)


def plain(config: object) -> dict:
    """A config as a dictionary that JSON can hold (tuples become lists there)."""
    return asdict(config)  # type: ignore[call-overload]
