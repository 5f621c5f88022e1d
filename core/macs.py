"""Multiply-adds ("MACs"; papers say FLOPs for the same count) in closed form, from shapes.

Counted: matrix products and convolutions of the patch embedding, attention, FFN, convolutional mixers, selectors,
package tokens and head. Left out: norms, softmax, biases, activations. The counts agree with
`torch.utils.flop_counter` (which counts two per MAC) and with the published figures of arXiv:2111.11802.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from core.config import Geometry
from core.lvvit_counts import LvvitGeometry, aux_macs, stem_macs
from core.results import DENSE_LAYERS, MIXERS, Layers, MacCount, Mixer, TokenTrace

FLAT = (Geometry, LvvitGeometry)
"""Whose counts are below; any other class registers its own."""


def check_flat(geometry: object) -> None:
    """Refuse a class that is made of a flat one and has no count of its own: it would get a wrong one in silence.

    Raises:
        TypeError: If it is none of `FLAT`.
    """
    if type(geometry) not in FLAT:
        raise TypeError(f"the multiply-adds of a {type(geometry).__name__} are not counted here")


def embedding_macs(geometry: Geometry) -> int:
    """MACs of embedding the patches: one patch-sized convolution, or a stem of 3x3 convolutions of stride 2."""
    if isinstance(geometry, LvvitGeometry):
        return stem_macs(geometry)
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


def attention_macs(tokens: int, dim: int) -> int:
    """MACs of one attention: 4 T D^2 (qkv, projection) + 2 T^2 D (scores, mix); softmax and bias left out."""
    return 4 * tokens * dim**2 + 2 * tokens**2 * dim


def convolution_macs(patches: int, dim: int, heads: int, kernel: int) -> int:
    """MACs of one convolutional mixer of side `kernel`: k^2 N D d into the bottleneck of d = D/H, N d D out."""
    head_dim = dim // heads
    return (kernel**2 + 1) * patches * dim * head_dim


def mixer_macs(mixer: Mixer, geometry: Geometry, tokens: int, patches: int | None = None) -> int:
    """MACs of one mixer; convolutions see the `patches` only (None: all N), whatever `tokens` is."""
    if mixer == "msa":
        return attention_macs(tokens, geometry.width)
    if mixer == "skip":
        return 0
    seen = geometry.patches if patches is None else patches
    return convolution_macs(seen, geometry.width, geometry.heads, 3 if mixer == "conv3x3" else 1)


def ffn_macs(tokens: int, dim: int, hidden: int) -> int:
    """MACs of one FFN: 2 T D F."""
    return 2 * tokens * dim * hidden


def head_macs(geometry: Geometry, alive: int | None = None) -> int:
    """MACs of the classifier: D C; twice where a distillation token has a head of its own.

    An LV-ViT classifies each of the patches `alive` at the end too (None: all).
    """
    classes = (2 if geometry.distilled else 1) * geometry.width * geometry.classes
    return classes + (aux_macs(geometry, alive) if isinstance(geometry, LvvitGeometry) else 0)


def selector_macs(tokens: int, dim: int, heads: int) -> int:
    """MACs of one selector that looks at `tokens` patches and packages.

    Per head on d = D/H channels: d d, then d (d/2) + (d/2)(d/4) + (d/4) 2; importance: H (H/2) + (H/2) H on means.

    Source: Kong et al. 2022, arXiv:2112.13890, token selector; shapes as in `core.soft_tokens.selector`.
    """
    d = dim // heads
    per_head = d * d + d * (d // 2) + (d // 2) * (d // 4) + (d // 4) * 2
    return tokens * (heads * per_head + 2 * heads * max(1, heads // 2))


def package_macs(patches: int, dim: int) -> int:
    """MACs of one package: one per channel of each of the `patches` before the selector; kept ones weigh 0."""
    return patches * dim


@dataclass(frozen=True)
class BlockPrices:
    """What one block can be made of, in MACs of one image."""

    mixers: dict[Mixer, int]
    """Of each mixer."""
    unit: int
    """Of one FFN hidden unit."""


@singledispatch
def block_prices(geometry: Geometry) -> tuple[BlockPrices, ...]:
    """What each block can be made of, all tokens in it, L of them; other families than flat ones register their own."""
    check_flat(geometry)
    tokens = geometry.patches + geometry.prefix_tokens
    mixers = {mixer: mixer_macs(mixer, geometry, tokens) for mixer in MIXERS}
    return (BlockPrices(mixers, ffn_macs(tokens, geometry.width, 1)),) * geometry.depth


@singledispatch
def count_macs(
    geometry: Geometry,
    *,
    tokens: Sequence[int] | None = None,
    mixers: Sequence[Mixer] | None = None,
    ffn_hidden: Sequence[int] | None = None,
    selectors: Sequence[tuple[int, int]] = (),
    patches: Sequence[int] | None = None,
    alive: int | None = None,
) -> MacCount:
    """MACs of one image through a flat ViT, dense or pruned either way or both; others register their own.

    Args:
        geometry: The dense model.
        tokens: Tokens in each block (L of them); None: all in every block.
        mixers: Per block; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
        selectors: For each selector, how many tokens it looked at, and how many of them were patches.
        patches: Patches among the tokens of each block, which convolutions are over; None: all N in every block.
        alive: Patches left at the end, which some heads look at; None: all.
    """
    check_flat(geometry)
    depth = geometry.depth
    tokens = tokens or [geometry.patches + geometry.prefix_tokens] * depth
    mixers = mixers or ["msa"] * depth
    ffn_hidden = ffn_hidden or [geometry.ffn_hidden] * depth
    patches = patches or [geometry.patches] * depth
    per_mixer = [mixer_macs(m, geometry, t, n) for m, t, n in zip(mixers, tokens, patches, strict=True)]
    return MacCount(
        embedding=embedding_macs(geometry),
        attention=sum(c for c, m in zip(per_mixer, mixers, strict=True) if m == "msa"),
        convolution=sum(c for c, m in zip(per_mixer, mixers, strict=True) if m != "msa"),
        ffn=sum(ffn_macs(t, geometry.width, f) for t, f in zip(tokens, ffn_hidden, strict=True)),
        selectors=sum(
            selector_macs(seen, geometry.width, geometry.heads) + package_macs(some, geometry.width)
            for seen, some in selectors
        ),
        head=head_macs(geometry, alive),
    )


@singledispatch
def macs_per_block(geometry: Geometry, trace: TokenTrace, layers: Layers = DENSE_LAYERS) -> tuple[MacCount, ...]:
    """MACs of each block of one token-pruned image, L of them; a selector counts to the block that it stands before.

    With the embedding and the head, which belong to no block, they sum up to `trace.macs`.

    Args:
        geometry: The dense model.
        trace: Of the image.
        layers: What the blocks are.
    """
    check_flat(geometry)
    mixers = layers.mixers or ("msa",) * geometry.depth
    ffn_hidden = layers.ffn_hidden or (geometry.ffn_hidden,) * geometry.depth
    alive = (geometry.patches, *trace.kept_counts)  # before each selector, and at the end
    counts = []
    for block, tokens in enumerate(trace.tokens):
        selecting = 0
        if block in trace.blocks:
            seen = trace.tokens[block - 1] - geometry.prefix_tokens  # patches and packages of the block before
            selecting = selector_macs(seen, geometry.width, geometry.heads)
            selecting += package_macs(alive[trace.blocks.index(block)], geometry.width)
        patches = alive[sum(at <= block for at in trace.blocks)]
        mixing = mixer_macs(mixers[block], geometry, tokens, patches)
        counts.append(
            MacCount(
                embedding=0,
                attention=mixing if mixers[block] == "msa" else 0,
                convolution=0 if mixers[block] == "msa" else mixing,
                ffn=ffn_macs(tokens, geometry.width, ffn_hidden[block]),
                selectors=selecting,
                head=0,
            )
        )
    return tuple(counts)
