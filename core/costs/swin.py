"""Swin Transformers in numbers: their geometry, block by block, and what merging and the head cost.

Source of the geometry: Liu et al. 2021, arXiv:2103.14030.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, check_sizes
from core.costs.params import linear_params, norm_params
from core.costs.windows import Windows
from core.results import MacCount


@dataclass(frozen=True)
class SwinGeometry(Geometry):
    """Shape of a Swin Transformer: stages of blocks, the grid halved and the width doubled between two stages."""

    width: int
    """D of the first stage."""
    depths: tuple[int, ...]
    """Blocks per stage; L is their sum."""
    heads: tuple[int, ...]
    """H per stage."""
    img_size: int = 224
    """Side of the square input, pixels."""
    patch: int = 4
    """Side of one patch, pixels."""
    window: int = 7
    """W: attention sees windows of W x W patches."""
    ffn_ratio: int = 4
    """Hidden units of an unpruned FFN, in widths of its stage."""
    classes: int = 1000
    """C."""
    timm: str | None = None
    """timm's name for it; None: timm's SwinTransformer with the numbers above."""

    def __post_init__(self) -> None:
        stages = len(self.depths)
        sizes = (self.width, *self.depths, *self.heads, self.img_size, self.patch, self.window, self.classes)
        check_sizes(self, *sizes, self.ffn_ratio)
        if len(self.heads) != stages:
            raise ValueError(f"{stages} stages of blocks, {len(self.heads)} of heads")
        if self.img_size % (self.patch * self.window * 2 ** (stages - 1)):
            raise ValueError(f"{self.img_size} pixels do not fill whole windows in each of {stages} stages")
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of the first stage."""
        side = self.img_size // self.patch
        return side, side

    @property
    def depth(self) -> int:
        """L."""
        return sum(self.depths)

    @property
    def prefix_tokens(self) -> int:
        """None: the classifier looks at the mean of all patches."""
        return 0

    @property
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns that each block works on, L of them."""
        rows, cols = self.grid
        return tuple((rows >> stage, cols >> stage) for stage, depth in enumerate(self.depths) for _ in range(depth))

    @property
    def widths(self) -> tuple[int, ...]:
        """D of each stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.depths)))

    def blocks(self) -> tuple[BlockShape, ...]:
        """The blocks of a stage are all alike."""
        return tuple(
            BlockShape(patches, patches, width, heads, self.ffn_ratio * width, self.window**2)
            for stage, (depth, width, heads) in enumerate(zip(self.depths, self.widths, self.heads, strict=True))
            for patches in [self.patches // 4**stage] * depth
        )

    def windows(self) -> tuple[Windows, ...]:
        """Every second block of a stage shifts its windows by half of them, where there is more than one."""
        return tuple(
            Windows(grid, self.window, self.window // 2 if at % 2 and grid[0] > self.window else 0)
            for grid, at in zip(self.block_grids, (at for depth in self.depths for at in range(depth)), strict=True)
        )

    def lookers(self, tokens: int) -> int:
        """All tokens: a patch ranks by how much those of its window look at it together."""
        return tokens

    def overhead(self, blocks: Sequence[BlockShape]) -> MacCount:
        """Embedding and patch mergings; and the classifier, D C.

        No selector stands right behind a merging, so a token in a stage's first block that is no patch is a package
        that was merged, as four patches alike.
        """
        embedding = self.patches * self.patch**2 * 3 * self.width + merging_macs(self)
        for stage, width in enumerate(self.widths[:-1], 1):
            first = blocks[sum(self.depths[:stage])]
            embedding += (first.tokens - first.patches) * 8 * width**2
        return MacCount(embedding=embedding, head=self.widths[-1] * self.classes)

    def overhead_params(self) -> int:
        """Embedding, mergings, the last norm and the classifier."""
        widths = self.widths
        embedding = linear_params(3 * self.patch**2, widths[0]) + norm_params(widths[0])
        merging = sum(norm_params(4 * width) + 4 * width * 2 * width for width in widths[:-1])
        return embedding + merging + norm_params(widths[-1]) + linear_params(widths[-1], self.classes)

    def bias_params(self, block: BlockShape) -> int:
        """3 D, and a table of (2 W - 1)^2 relative positions for every head."""
        return 3 * block.width + (2 * self.window - 1) ** 2 * block.heads


SWIN = {
    "swin_tiny_patch4_window7_224": SwinGeometry(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_patch4_window7_224": SwinGeometry(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_patch4_window7_224": SwinGeometry(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
"""By timm's names."""


def merging_macs(geometry: SwinGeometry) -> int:
    """MACs of all patch mergings: between two stages, a linear 4 D -> 2 D on the N / 4 patches that remain."""
    return sum(geometry.patches // 4**stage * 8 * width**2 for stage, width in enumerate(geometry.widths[:-1], 1))
