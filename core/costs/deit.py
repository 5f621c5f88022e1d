"""DeiT and plain ViT in numbers: their geometry, and what their embedding and heads cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, check_flat, check_sizes
from core.costs.params import linear_params, norm_params
from core.results import MacCount


@dataclass(frozen=True)
class DeitGeometry(Geometry):
    """Shape of a flat Vision Transformer (DeiT, ViT)."""

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
    """C; 0: a backbone without a head, which training gives it."""
    stem: tuple[int, ...] = ()
    """Channels of the stride-2 convolutions that embed the patches; empty: one patch-sized convolution."""
    prefix_tokens: int = 1
    """Tokens that are no patches: class token, and distillation or register tokens where a model has them."""
    distilled: bool = False
    """Whether the second prefix token has a classifier of its own; the two answers are averaged."""
    timm: str | None = None
    """timm's name for it; None: timm's VisionTransformer with the numbers above."""

    def __post_init__(self) -> None:
        check_sizes(self, self.img_size, self.patch, self.width, self.depth, self.heads, self.ffn_hidden)
        if not isinstance(self.classes, int) or self.classes < 0:
            raise ValueError(f"classes must be a whole number, 0 for a model without a head: {self}")
        check_flat(self, self.width, self.heads)
        if self.stem and 2 ** len(self.stem) != self.patch:
            raise ValueError(
                f"{len(self.stem)} stride-2 layers give patches of {2 ** len(self.stem)}, not {self.patch}"
            )

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
        """Embedding, and the classifier: D C, twice where a distillation token has a head of its own."""
        heads = (2 if self.distilled else 1) * self.width * self.classes
        return MacCount(embedding=embedding_macs(self), head=heads)

    def overhead_params(self) -> int:
        """Embedding, prefix tokens, a position for every token, the last norm and the heads."""
        heads = (2 if self.distilled else 1) * linear_params(self.width, self.classes)
        tokens = self.prefix_tokens + (self.prefix_tokens + self.patches)  # themselves, and positions
        return embedding_params(self) + tokens * self.width + norm_params(self.width) + heads

    def bias_params(self, block: BlockShape) -> int:
        """3 D."""
        return 3 * block.width


DEIT = {
    "deit_tiny_patch16_224": DeitGeometry(224, 16, 192, 12, 3, 768, 1000),
    "deit_small_patch16_224": DeitGeometry(224, 16, 384, 12, 6, 1536, 1000),
    "deit_base_patch16_224": DeitGeometry(224, 16, 768, 12, 12, 3072, 1000),
}
"""By timm's names."""


def embedding_macs(geometry: DeitGeometry) -> int:
    """MACs of embedding the patches: one patch-sized convolution, or a stem of 3x3 convolutions of stride 2."""
    if not geometry.stem:
        return geometry.patches * geometry.patch**2 * 3 * geometry.width
    total, side, channels = 0, geometry.img_size, 3
    for out in geometry.stem:
        side //= 2
        total += side**2 * 9 * channels * out
        channels = out
    if channels != geometry.width:
        total += geometry.patches * channels * geometry.width
    return total


def embedding_params(geometry: DeitGeometry) -> int:
    """Parameters of the same.

    In a stem of several layers each is followed by a batch norm in place of its bias; the last has the bias instead.
    """
    if not geometry.stem:
        return linear_params(3 * geometry.patch**2, geometry.width)
    total, channels = 0, 3
    for out in geometry.stem[:-1]:
        total += 9 * channels * out + norm_params(out)
        channels = out
    last = geometry.stem[-1]
    total += linear_params(9 * channels, last)
    return total + (linear_params(last, geometry.width) if last != geometry.width else 0)
