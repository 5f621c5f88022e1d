"""Pooling Vision Transformers (PiT) in numbers: their geometry, stage by stage, and what poolings and heads cost.

Source of the geometry: Heo et al. 2021, arXiv:2103.16302.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.costs.geometry import BlockShape, Geometry, check_sizes
from core.costs.params import linear_params, norm_params
from core.results import MacCount

KERNEL = 3
"""Side of the pooling convolution; its stride is 2, and each channel makes D_out / D_in channels of its own."""


@dataclass(frozen=True)
class PitGeometry(Geometry):
    """Shape of a PiT: stages of blocks, each on a grid of its own; a pooling convolution between two stages."""

    img_size: int
    """Side of the square input, pixels."""
    patch: int
    """Side of one patch, pixels; patches overlap."""
    stride: int
    """From one patch to the next, pixels."""
    widths: tuple[int, ...]
    """D per stage."""
    depths: tuple[int, ...]
    """Blocks per stage; L is their sum."""
    heads: tuple[int, ...]
    """H per stage."""
    ffn_ratio: int = 4
    """Hidden units of an FFN, in widths of its stage."""
    classes: int = 1000
    """C."""
    prefix_tokens: int = 1
    """Tokens that are no patches: the class token, and a distillation token where a model has one."""
    distilled: bool = False
    """Whether the second prefix token has a classifier of its own; the two answers are averaged."""
    timm: str | None = None
    """timm's name for it; None: timm's PoolingVisionTransformer with the numbers above."""

    def __post_init__(self) -> None:
        sizes = (self.img_size, self.patch, self.stride, *self.widths, *self.depths, *self.heads, self.ffn_ratio)
        check_sizes(self, *sizes, self.classes)
        if not len(self.widths) == len(self.depths) == len(self.heads):
            raise ValueError(f"{len(self.depths)} stages of blocks, {len(self.widths)} widths, {len(self.heads)} heads")
        if any(width % heads for width, heads in zip(self.widths, self.heads, strict=True)):
            raise ValueError(f"widths {self.widths} do not divide by heads {self.heads}")
        if any(after % before for before, after in pairwise(self.widths)):
            raise ValueError(f"a pooling multiplies channels by a whole number: {self.widths}")
        if self.img_size < self.patch or any(a == b for a, b in pairwise(self.grids)):
            raise ValueError(f"{self.img_size} pixels are too few for {len(self.depths)} stages")

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns of each stage."""
        side = (self.img_size - self.patch) // self.stride + 1
        sides = [side]
        for _ in self.depths[1:]:
            sides.append((sides[-1] - 1) // 2 + 1)  # kernel 3, padding 1, stride 2
        return tuple((side, side) for side in sides)

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of the first stage."""
        return self.grids[0]

    @property
    def depth(self) -> int:
        """L."""
        return sum(self.depths)

    @property
    def stage_of(self) -> tuple[int, ...]:
        """The stage of each block, L of them."""
        return tuple(stage for stage, depth in enumerate(self.depths) for _ in range(depth))

    @property
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns that each block works on, L of them."""
        return tuple(self.grids[stage] for stage in self.stage_of)

    def blocks(self) -> tuple[BlockShape, ...]:
        """The blocks of a stage are all alike."""
        cells = [rows * cols for rows, cols in self.grids]
        return tuple(
            BlockShape(self.prefix_tokens + patches, patches, width, heads, self.ffn_ratio * width)
            for depth, patches, width, heads in zip(self.depths, cells, self.widths, self.heads, strict=True)
            for _ in range(depth)
        )

    def overhead(self, blocks: Sequence[BlockShape]) -> MacCount:
        """Embedding and poolings; and the classifier, D C, twice where a distillation token has a head of its own.

        No selector stands right behind a pooling, so what is there in a stage's first block beyond its patches, prefix
        tokens and a package, was pooled.
        """
        embedding, dense = self.patches * self.patch**2 * 3 * self.widths[0], self.blocks()
        for start in (self.stage_of.index(stage) for stage in range(1, len(self.depths))):
            cells, after = dense[start].patches, dense[start].width
            embedding += pooling_macs(dense[start - 1].width, after, cells, blocks[start].tokens - cells)
        return MacCount(embedding=embedding, head=(2 if self.distilled else 1) * self.widths[-1] * self.classes)

    def overhead_params(self) -> int:
        """Embedding, prefix tokens, a position for each patch of the first grid, poolings, the last norm, the heads."""
        widths = self.widths
        rest = linear_params(3 * self.patch**2, widths[0]) + (self.patches + self.prefix_tokens) * widths[0]
        rest += sum(linear_params(KERNEL**2, b) + linear_params(a, b) for a, b in pairwise(widths))
        return rest + norm_params(widths[-1]) + (2 if self.distilled else 1) * linear_params(widths[-1], self.classes)

    def bias_params(self, block: BlockShape) -> int:
        """3 D."""
        return 3 * block.width


PIT = {
    "pit_ti_224": PitGeometry(224, 16, 8, (64, 128, 256), (2, 6, 4), (2, 4, 8)),
    "pit_xs_224": PitGeometry(224, 16, 8, (96, 192, 384), (2, 6, 4), (2, 4, 8)),
    "pit_s_224": PitGeometry(224, 16, 8, (144, 288, 576), (2, 6, 4), (3, 6, 12)),
    "pit_b_224": PitGeometry(224, 14, 7, (256, 512, 1024), (3, 6, 4), (4, 8, 16)),
}
"""By timm's names; each has a distilled sibling."""


def pooling_macs(before: int, after: int, cells: int, tokens: int) -> int:
    """MACs of one pooling: 9 n D' (each channel convolved by itself) and a linear layer D -> D' on other tokens.

    Args:
        before: D.
        after: D'.
        cells: n of the smaller grid.
        tokens: Prefix tokens and packages.
    """
    return KERNEL**2 * cells * after + tokens * before * after
