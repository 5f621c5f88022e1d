"""ViTs that answer from the mean of their patches, in numbers: their geometry, and what is in no block of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, check_flat, check_sizes
from core.costs.params import linear_params, norm_params
from core.results import MacCount


@dataclass(frozen=True)
class GapGeometry(Geometry):
    """Shape of a flat ViT without a class token, with or without register tokens."""

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
    prefix_tokens: int = 0
    """Register tokens, which have no positions and give no answer."""
    norm_first: bool = False
    """Whether each token is normalised before the mean, not the mean itself."""
    timm: str | None = None
    """timm's name for it."""

    def __post_init__(self) -> None:
        sizes = (self.img_size, self.patch, self.width, self.depth, self.heads, self.ffn_hidden, self.classes)
        check_sizes(self, *sizes)
        check_flat(self, self.width, self.heads)
        if not isinstance(self.prefix_tokens, int) or self.prefix_tokens < 0:
            raise ValueError(f"register tokens must be a whole number: {self}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        side = self.img_size // self.patch
        return side, side

    @property
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """The same grid for each block."""
        return (self.grid,) * self.depth

    def blocks(self) -> tuple[BlockShape, ...]:
        """Blocks that are all alike."""
        tokens = self.prefix_tokens + self.patches
        return (BlockShape(tokens, self.patches, self.width, self.heads, self.ffn_hidden),) * self.depth

    def overhead(self, blocks: Sequence[BlockShape]) -> MacCount:
        """Embedding 3 p^2 N D, and the classifier D C; a mean has no weights, and is counted as nothing."""
        return MacCount(
            embedding=self.patches * 3 * self.patch**2 * self.width,
            head=self.width * self.classes,
        )

    def overhead_params(self) -> int:
        """Embedding, register tokens, a position for every patch, the last norm and the classifier."""
        tokens = self.prefix_tokens + self.patches
        return (
            linear_params(3 * self.patch**2, self.width)
            + tokens * self.width
            + norm_params(self.width)
            + linear_params(self.width, self.classes)
        )

    def bias_params(self, block: BlockShape) -> int:
        """3 D."""
        return 3 * block.width

    def lookers(self, tokens: int) -> int:
        """All tokens: a patch ranks by how much they look at it together."""
        return tokens


GAP = {
    "vit_little_patch16_reg4_gap_256": GapGeometry(256, 16, 320, 14, 5, 1792, 1000, 4),
    "vit_medium_patch16_reg4_gap_256": GapGeometry(256, 16, 512, 12, 8, 2048, 1000, 4),
}
"""By timm's names; without LayerScale, which is folded in."""
