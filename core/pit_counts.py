"""Pooling Vision Transformers (PiT) in numbers: their geometry, stage by stage, multiply-adds and parameters.

The convention of `core.macs`: matrix products and convolutions count, norms, softmax, biases and activations do not.
The counts agree with `torch.utils.flop_counter` on timm's models. Source of the geometry: Heo et al. 2021,
arXiv:2103.16302.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.grids import dense_tokens
from core.macs import attention_macs, count_macs, ffn_macs, macs_per_block, package_macs, selector_macs
from core.params import ParamCount, block_params, count_params, linear_params, norm_params, selector_params
from core.results import DENSE_LAYERS, Layers, MacCount, TokenTrace

KERNEL = 3
"""Side of the pooling convolution; its stride is 2, and each channel makes D_out / D_in channels of its own."""


@dataclass(frozen=True)
class PitGeometry:
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
        if not all(isinstance(size, int) and size > 0 for size in (*sizes, self.classes)):
            raise ValueError(f"sizes must be whole numbers above 0: {self}")
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
    def patches(self) -> int:
        """N of the first stage."""
        return self.grid[0] * self.grid[1]

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

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """F of each block, L of them."""
        return tuple(self.ffn_ratio * self.widths[stage] for stage in self.stage_of)


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


@count_macs.register
def count_pit_macs(
    geometry: PitGeometry,
    *,
    tokens: Sequence[int] | None = None,
    blocks: Sequence[int] = (),
    selectors: Sequence[tuple[int, int]] = (),
) -> MacCount:
    """MACs of one image through a PiT, dense or pruned; pooling counts as embedding.

    Args:
        geometry: The dense model.
        tokens: Tokens in each block (L of them); None: all in every block. No selector stands right behind a pooling,
            so what is there in a stage's first block beyond its prefix and patches is a package that was pooled.
        blocks: Before which the selectors stand, from 0.
        selectors: For each how many tokens it looked at, and how many of them were patches; all go into the package.
    """
    tokens = tokens or dense_tokens(geometry)
    widths, cells = geometry.widths, [rows * cols for rows, cols in geometry.grids]
    starts = [geometry.stage_of.index(stage) for stage in range(1, len(widths))]
    pooled = [tokens[start] - cells[geometry.stage_of[start]] for start in starts]  # prefix and package
    pools = zip(widths, widths[1:], cells[1:], pooled, strict=False)
    return MacCount(
        embedding=geometry.patches * geometry.patch**2 * 3 * widths[0] + sum(pooling_macs(*pool) for pool in pools),
        attention=sum(attention_macs(t, widths[s]) for t, s in zip(tokens, geometry.stage_of, strict=True)),
        convolution=0,
        ffn=sum(_ffn(geometry, block, t) for block, t in enumerate(tokens)),
        selectors=sum(_selecting(geometry, at, seen) for at, (seen, _) in zip(blocks, selectors, strict=True)),
        head=(2 if geometry.distilled else 1) * widths[-1] * geometry.classes,
    )


def _ffn(geometry: PitGeometry, block: int, tokens: int) -> int:
    width = geometry.widths[geometry.stage_of[block]]
    return ffn_macs(tokens, width, geometry.ffn_ratio * width)


def _selecting(geometry: PitGeometry, block: int, seen: int) -> int:
    """Of one selector that looked at `seen` tokens, and its folding: an earlier package is folded in like a patch."""
    stage = geometry.stage_of[block]
    width, heads = geometry.widths[stage], geometry.heads[stage]
    return selector_macs(seen, width, heads) + package_macs(seen, width)


@macs_per_block.register
def pit_macs_per_block(geometry: PitGeometry, trace: TokenTrace, layers: Layers = DENSE_LAYERS) -> tuple[MacCount, ...]:
    """MACs of each block of one token-pruned image, L of them; see `core.macs.macs_per_block`.

    `layers` are dense: no other method takes a PiT. With the embedding, the poolings and the head, which belong to no
    block, they sum up to `trace.macs`.
    """
    return tuple(
        MacCount(
            embedding=0,
            attention=attention_macs(tokens, geometry.widths[geometry.stage_of[block]]),
            convolution=0,
            ffn=_ffn(geometry, block, tokens),
            selectors=_selecting(geometry, block, trace.tokens[block - 1] - geometry.prefix_tokens)
            if block in trace.blocks
            else 0,
            head=0,
        )
        for block, tokens in enumerate(trace.tokens)
    )


@count_params.register
def count_pit_params(geometry: PitGeometry, *, selectors: Sequence[int] = ()) -> ParamCount:
    """Parameters of a PiT with biases; positions are those of the first grid's patches alone.

    Args:
        geometry: The dense model.
        selectors: Blocks before which token selectors stand, each as wide as its stage.
    """
    widths, prefix = geometry.widths, geometry.prefix_tokens
    rest = linear_params(3 * geometry.patch**2, widths[0]) + (geometry.patches + prefix) * widths[0]
    rest += sum(linear_params(KERNEL**2, b) + linear_params(a, b) for a, b in pairwise(widths))
    rest += norm_params(widths[-1]) + (2 if geometry.distilled else 1) * linear_params(widths[-1], geometry.classes)
    stages = (geometry.stage_of[block] for block in selectors)
    rest += sum(selector_params(widths[stage], geometry.heads[stage]) for stage in stages)
    blocks = [
        block_params("msa", widths[stage], geometry.heads[stage], geometry.ffn_ratio * widths[stage])
        for stage in geometry.stage_of
    ]
    return sum(blocks, ParamCount(rest, rest))
