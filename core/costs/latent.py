"""ViTs that answer from an attention pooling, in numbers: their geometry, and what is in no block of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, check_flat, check_sizes
from core.costs.params import linear_params, norm_params
from core.results import MacCount

ACTIVATIONS = ("gelu", "gelu_tanh")


@dataclass(frozen=True)
class LatentGeometry(Geometry):
    """Shape of a flat ViT without a class token whose patches a learned query attends to, behind the last block."""

    img_size: int
    """Side of the square input, pixels."""
    patch: int
    """Side of one patch, pixels; the grid is img_size // patch on each side."""
    width: int
    """D."""
    depth: int
    """L."""
    heads: int
    """H, of the blocks and of the pooling."""
    ffn_hidden: int
    """F of an unpruned block, and of the FFN behind the pooling."""
    classes: int
    """C."""
    prefix_tokens: int = 0
    """Register tokens, which have no positions; the pooling does not look at them."""
    activation: str = "gelu"
    """Of the FFNs, by timm's name; one of `ACTIVATIONS`."""
    timm: str | None = None
    """timm's name for it."""

    def __post_init__(self) -> None:
        sizes = (self.img_size, self.patch, self.width, self.depth, self.heads, self.ffn_hidden, self.classes)
        check_sizes(self, *sizes)
        check_flat(self, self.width, self.heads)
        if not isinstance(self.prefix_tokens, int) or self.prefix_tokens < 0:
            raise ValueError(f"register tokens must be a whole number: {self}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"the activation must be {' or '.join(ACTIVATIONS)}: {self}")

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
        """Embedding 3 p^2 N D; the pooling over the T' patches and packages that are left, and the classifier.

        The pooling: 2 D^2 for its query and its output, 2 T' D^2 for keys and values, 2 T' D for one query, 2 D F.
        """
        width, left = self.width, blocks[-1].tokens - self.prefix_tokens
        pooling = 2 * width**2 + 2 * left * width**2 + 2 * left * width + 2 * width * self.ffn_hidden
        return MacCount(
            embedding=self.patches * 3 * self.patch**2 * width,
            head=pooling + width * self.classes,
        )

    def overhead_params(self) -> int:
        """Embedding, register tokens, a position for every patch, the last norm, the pooling and the classifier."""
        width = self.width
        pooling = (
            width  # the query
            + linear_params(width, width)
            + linear_params(width, 2 * width)
            + linear_params(width, width)
            + norm_params(width)
            + linear_params(width, self.ffn_hidden)
            + linear_params(self.ffn_hidden, width)
        )
        return (
            linear_params(3 * self.patch**2, width)
            + (self.prefix_tokens + self.patches) * width
            + norm_params(width)
            + pooling
            + linear_params(width, self.classes)
        )

    def bias_params(self, block: BlockShape) -> int:
        """3 D."""
        return 3 * block.width

    def lookers(self, tokens: int) -> int:
        """All tokens: a patch ranks by how much they look at it together."""
        return tokens
