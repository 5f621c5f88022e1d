"""Choices that go in: frozen dataclasses of plain values, safe as cache keys."""

import os
from dataclasses import asdict, dataclass
from typing import Literal

Packaging = Literal["weighted_mean", "weighted_sum"]
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")
"""timm's names for ways to resize a photo."""


@dataclass(frozen=True)
class Geometry:
    """Shape of a flat Vision Transformer (DeiT, ViT): enough to build it without weights."""

    img_size: int
    """Side of the square input, pixels."""
    patch: int
    """Side of one patch, pixels; the grid is img_size // patch on each side."""
    width: int
    """D."""
    depth: int
    """L."""
    heads: int
    """H."""
    ffn_hidden: int
    """F of an unpruned block."""
    classes: int
    """C."""
    stem: tuple[int, ...] = ()
    """Channels of the stride-2 convolutions that embed the patches; empty: one patch-sized convolution."""
    prefix_tokens: int = 1
    """Tokens that are no patches: class token, and distillation or register tokens where a model has them."""
    distilled: bool = False
    """Whether the second prefix token has a classifier of its own; the two answers are averaged."""
    timm: str | None = None
    """timm's name for it; None: timm's VisionTransformer with the numbers above."""

    def __post_init__(self) -> None:
        sizes = (self.img_size, self.patch, self.width, self.depth, self.heads, self.ffn_hidden, self.classes)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"sizes must be whole numbers above 0: {self}")
        if self.img_size % self.patch or self.width % self.heads:
            raise ValueError(f"img_size must divide by patch and width by heads: {self}")
        if self.stem and 2 ** len(self.stem) != self.patch:
            raise ValueError(
                f"{len(self.stem)} stride-2 layers give patches of {2 ** len(self.stem)}, not {self.patch}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        return (self.img_size // self.patch,) * 2

    @property
    def patches(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    @property
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns that each block works on, L of them."""
        return (self.grid,) * self.depth

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """F of each unpruned block, L of them."""
        return (self.ffn_hidden,) * self.depth


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
    """One model with its settings: the arguments of `core.checkpoints.load_model`, and every cache's key."""

    name: str
    """A name that `models` lists, or a path, also as a `pathlib.Path`."""
    budget: float | None = None
    """Single-path budget in MACs (not G)."""
    keep: tuple[float, ...] | None = None
    """Per selector: share of the original patches still alive after it, never rising."""
    threshold: float | None = None
    """Keep a patch if its keep probability is above this."""
    packaging: Packaging = "weighted_mean"
    heads: tuple[int, ...] | None = None
    """See `Hints`; of a file that does not say it."""
    arch: str | None = None
    """Likewise."""
    img_size: int | None = None
    """Likewise."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))
        if isinstance(self.heads, int):
            object.__setattr__(self, "heads", (self.heads,))

    @property
    def hints(self) -> Hints:
        """What the spec says of the file."""
        return Hints(self.heads, self.arch, self.img_size)


def plain(config: object) -> dict:
    """A config as a dictionary that JSON can hold (tuples become lists there)."""
    return asdict(config)  # type: ignore[call-overload]
