"""Swin Transformers in numbers: their geometry, block by block, and their multiply-adds in closed form.

The same convention as `core.macs`: matrix products and convolutions count, norms, softmax, biases and activations do
not. The dense counts agree with `torch.utils.flop_counter` on timm's models. Source of the geometry: Liu et al. 2021,
arXiv:2103.14030; of the convolutional mixers: He et al. 2021, arXiv:2111.11802.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.macs import BlockPrices, block_prices, convolution_macs, count_macs, ffn_macs
from core.results import MIXERS, MacCount, Mixer


@dataclass(frozen=True)
class SwinGeometry:
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
        if not all(isinstance(size, int) and size > 0 for size in (*sizes, self.ffn_ratio)):
            raise ValueError(f"sizes must be whole numbers above 0: {self}")
        if len(self.heads) != stages:
            raise ValueError(f"{stages} stages of blocks, {len(self.heads)} of heads")
        if self.img_size % (self.patch * self.window * 2 ** (stages - 1)):
            raise ValueError(f"{self.img_size} pixels do not fill whole windows in each of {stages} stages")
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError(f"width {self.width} does not divide by heads {self.heads}")

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of the first stage."""
        return (self.img_size // self.patch,) * 2

    @property
    def depth(self) -> int:
        """L."""
        return sum(self.depths)

    @property
    def patches(self) -> int:
        """N of the first stage."""
        return self.grid[0] * self.grid[1]

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """F of each unpruned block, L of them."""
        return tuple(shape.ffn_hidden for shape in block_shapes(self))


SWIN = {
    "swin_tiny_patch4_window7_224": SwinGeometry(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_patch4_window7_224": SwinGeometry(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_patch4_window7_224": SwinGeometry(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
"""By timm's names."""


@dataclass(frozen=True)
class BlockShape:
    """One dense Swin block."""

    patches: int
    """N of its stage."""
    width: int
    """D of its stage."""
    heads: int
    """H of its stage."""
    ffn_hidden: int
    """F."""


def block_shapes(geometry: SwinGeometry) -> tuple[BlockShape, ...]:
    """Every block from the input on, L of them."""
    patches = geometry.grid[0] * geometry.grid[1]
    return tuple(
        BlockShape(patches // 4**stage, width, heads, geometry.ffn_ratio * width)
        for stage, (depth, heads) in enumerate(zip(geometry.depths, geometry.heads, strict=True))
        for width in [geometry.width * 2**stage] * depth
    )


def window_attention_macs(patches: int, window: int, dim: int) -> int:
    """MACs of one windowed attention: 4 N D^2 (qkv, projection) + 2 N W^2 D (scores, mix within W x W patches)."""
    return 4 * patches * dim**2 + 2 * patches * window**2 * dim


def merging_macs(geometry: SwinGeometry) -> int:
    """MACs of all patch mergings: between two stages, a linear 4 D -> 2 D on the N / 4 patches that remain."""
    patches = geometry.grid[0] * geometry.grid[1]
    stages = range(1, len(geometry.depths))
    return sum(patches // 4**stage * 8 * (geometry.width * 2 ** (stage - 1)) ** 2 for stage in stages)


def chosen_blocks(
    geometry: SwinGeometry, mixers: Sequence[Mixer] | None, ffn_hidden: Sequence[int] | None
) -> list[tuple[BlockShape, Mixer, int]]:
    """Each block with its mixer and hidden units, L of them; None: attention everywhere, the full width.

    Raises:
        ValueError: If there are not L mixers or widths.
    """
    shapes = block_shapes(geometry)
    return list(
        zip(
            shapes,
            mixers or ["msa"] * geometry.depth,
            ffn_hidden or [shape.ffn_hidden for shape in shapes],
            strict=True,
        )
    )


def swin_mixer_macs(mixer: Mixer, shape: BlockShape, window: int) -> int:
    """MACs of one mixer; convolutions see the whole map of their stage, not its windows."""
    if mixer == "msa":
        return window_attention_macs(shape.patches, window, shape.width)
    if mixer == "skip":
        return 0
    return convolution_macs(shape.patches, shape.width, shape.heads, 3 if mixer == "conv3x3" else 1)


@block_prices.register
def swin_block_prices(geometry: SwinGeometry) -> tuple[BlockPrices, ...]:
    """What each block can be made of, L of them; blocks of one stage alike."""
    return tuple(
        BlockPrices(
            {mixer: swin_mixer_macs(mixer, shape, geometry.window) for mixer in MIXERS},
            ffn_macs(shape.patches, shape.width, 1),
        )
        for shape in block_shapes(geometry)
    )


@count_macs.register
def count_swin_macs(
    geometry: SwinGeometry, *, mixers: Sequence[Mixer] | None = None, ffn_hidden: Sequence[int] | None = None
) -> MacCount:
    """MACs of one image through a Swin, dense or pruned; patch merging counts as embedding.

    Args:
        geometry: The dense model.
        mixers: Per block, L of them; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
    """
    blocks = chosen_blocks(geometry, mixers, ffn_hidden)
    per_mixer = [(m, swin_mixer_macs(m, shape, geometry.window)) for shape, m, _ in blocks]
    first, last = blocks[0][0], blocks[-1][0]
    return MacCount(
        embedding=first.patches * geometry.patch**2 * 3 * geometry.width + merging_macs(geometry),
        attention=sum(cost for mixer, cost in per_mixer if mixer == "msa"),
        convolution=sum(cost for mixer, cost in per_mixer if mixer != "msa"),
        ffn=sum(ffn_macs(shape.patches, shape.width, hidden) for shape, _, hidden in blocks),
        selectors=0,
        head=last.width * geometry.classes,
    )
