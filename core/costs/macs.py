"""Multiply-adds ("MACs"; papers say FLOPs for the same count) in closed form, from shapes.

Counted: matrix products and convolutions of the patch embedding, attention, FFN, convolutional mixers, selectors,
package tokens and head. Left out: norms, softmax, biases, activations. The counts agree with
`torch.utils.flop_counter` (which counts two per MAC) and with the published figures of arXiv:2111.11802.

One formula for every family: a family's geometry gives the shapes of its blocks, and what is in none of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.costs.geometry import BlockShape, Geometry, left_blocks
from core.costs.grids import patches_left, pools
from core.costs.windows import Pairs, image_pairs
from core.results import DENSE_LAYERS, MIXERS, Layers, MacCount, Mixer, TokenTrace


def attention_macs(tokens: int, dim: int, keys: int | None = None, pairs: int | None = None) -> int:
    """MACs of one attention: 4 T D^2 (qkv, projection) + 2 T K D (scores, mix); softmax and bias left out.

    K, the `keys` that each token attends to, are all T (None), or in windows fewer; where windows have lost cells, each
    another number, `pairs` says what T K is.
    """
    return 4 * tokens * dim**2 + 2 * (tokens * (tokens if keys is None else keys) if pairs is None else pairs) * dim


def convolution_macs(patches: int, dim: int, heads: int, kernel: int) -> int:
    """MACs of one convolutional mixer of side `kernel`: k^2 N D d into the bottleneck of d = D/H, N d D out."""
    head_dim = dim // heads
    return (kernel**2 + 1) * patches * dim * head_dim


def mixer_macs(mixer: Mixer, block: BlockShape) -> int:
    """MACs of one mixer; convolutions see the patches only, and not in windows but all of them."""
    if mixer == "msa":
        return attention_macs(block.tokens, block.width, block.keys, block.pairs)
    if mixer == "skip":
        return 0
    return convolution_macs(block.patches, block.width, block.heads, 3 if mixer == "conv3x3" else 1)


def ffn_macs(tokens: int, dim: int, hidden: int) -> int:
    """MACs of one FFN: 2 T D F."""
    return 2 * tokens * dim * hidden


def selector_macs(tokens: int, dim: int, heads: int) -> int:
    """MACs of one selector that looks at `tokens` patches and packages.

    Per head on d = D/H channels: d d, then d (d/2) + (d/2)(d/4) + (d/4) 2; importance: H (H/2) + (H/2) H on means.

    Source: Kong et al. 2022, arXiv:2112.13890, token selector; shapes as in `core.soft_tokens.selector`.
    """
    d = dim // heads
    per_head = d * d + d * (d // 2) + (d // 2) * (d // 4) + (d // 4) * 2
    return tokens * (heads * per_head + 2 * heads * max(1, heads // 2))


def look_macs(tokens: int, dim: int, queries: int = 1, pairs: int | None = None) -> int:
    """MACs of one ranking by attention: Q queries and the keys of all tokens, (Q + T) D^2, and Q T D for the scores.

    Args:
        tokens: T.
        dim: D.
        queries: Q; 1: the class token's alone.
        pairs: What Q T is in windows, where each query looks at the keys of its own; None: that.
    """
    return (queries + tokens) * dim**2 + (queries * tokens if pairs is None else pairs) * dim


def package_macs(patches: int, dim: int) -> int:
    """MACs of one package: one per channel of each of the `patches` before the selector; kept ones weigh 0."""
    return patches * dim


def selecting_macs(
    geometry: Geometry, block: BlockShape, seen: int, patches: int, *, ranked: bool = False, pairs: int | None = None
) -> int:
    """MACs of one selector before `block`, or of a ranking by class attention, and of its folding.

    Args:
        geometry: Of the model: where the grid changes, an image has one package, folded in like a patch.
        block: Which gives the width.
        seen: Tokens that the selector looked at.
        patches: How many of them are patches.
        ranked: It is a ranking.
        pairs: See `look_macs`.
    """
    folded = seen if pools(geometry) else patches
    if ranked:
        tokens = seen + geometry.prefix_tokens
        return look_macs(tokens, block.width, geometry.lookers(tokens), pairs) + package_macs(folded, block.width)
    return selector_macs(seen, block.width, block.heads) + package_macs(folded, block.width)


@dataclass(frozen=True)
class BlockPrices:
    """What one block can be made of, in MACs of one image."""

    mixers: dict[Mixer, int]
    """Of each mixer."""
    unit: int
    """Of one FFN hidden unit."""


def block_prices(geometry: Geometry) -> tuple[BlockPrices, ...]:
    """What each block can be made of, all tokens in it, L of them."""
    return tuple(
        BlockPrices({mixer: mixer_macs(mixer, block) for mixer in MIXERS}, ffn_macs(block.tokens, block.width, 1))
        for block in geometry.blocks()
    )


@lru_cache(maxsize=4096)  # the blocks of a model are much alike, and those of its settings too
def block_macs(block: BlockShape, mixer: Mixer = "msa", selecting: int = 0) -> MacCount:
    """MACs of one block, with those of a selector before it."""
    mixing = mixer_macs(mixer, block)
    return MacCount(
        attention=mixing if mixer == "msa" else 0,
        convolution=0 if mixer == "msa" else mixing,
        ffn=ffn_macs(block.tokens, block.width, block.ffn),
        selectors=selecting,
    )


def count_macs(
    geometry: Geometry,
    *,
    tokens: Sequence[int] | None = None,
    mixers: Sequence[Mixer] | None = None,
    ffn_hidden: Sequence[int] | None = None,
    selectors: Sequence[tuple[int, int]] = (),
    blocks: Sequence[int] | None = None,
    patches: Sequence[int] | None = None,
    ranked: bool = False,
    pairs: Pairs | None = None,
) -> MacCount:
    """MACs of one image through a model, dense or pruned either way or both.

    Args:
        geometry: The dense model.
        tokens: Tokens in each block (L of them); None: all in every block.
        mixers: Per block; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
        selectors: For each selector, how many tokens it looked at, and how many of them were patches.
        blocks: Before which the selectors stand, from 0; None: of no matter, as all blocks are of one width.
        patches: Patches among the tokens of each block, which convolutions are over; None: all N in every block. Some
            heads look at those of the last block.
        ranked: The selectors are rankings by class attention.
        pairs: Of a model with windows that have lost cells, who attends to whom; None: each token to all of its keys.

    Raises:
        ValueError: If a sequence has not as many numbers as it must.
    """
    left = left_blocks(
        geometry, tokens=tokens, patches=patches, ffn_hidden=ffn_hidden, pairs=None if pairs is None else pairs.blocks
    )
    total = geometry.overhead(left)
    for block, mixer in zip(left, mixers or ("msa",) * len(left), strict=True):
        total += block_macs(block, mixer)
    places = (0,) * len(selectors) if blocks is None else blocks
    looks = (None,) * len(places) if pairs is None else pairs.looks
    selecting = sum(
        selecting_macs(geometry, left[at], *one, ranked=ranked, pairs=look)
        for at, one, look in zip(places, selectors, looks, strict=True)
    )
    return total + MacCount(selectors=selecting)


def macs_per_block(geometry: Geometry, trace: TokenTrace, layers: Layers = DENSE_LAYERS) -> tuple[MacCount, ...]:
    """MACs of each block of one token-pruned image, L of them; a selector counts to the block that it stands before.

    With the embedding, whatever stands between stages, and the head, which belong to no block, they sum up to
    `trace.macs`.

    Args:
        geometry: The dense model.
        trace: Of the image.
        layers: What the blocks are.
    """
    patches = patches_left(geometry, trace.blocks, trace.kept_counts)
    pairs = _trace_pairs(geometry, trace)
    left = left_blocks(
        geometry,
        tokens=trace.tokens,
        patches=patches,
        ffn_hidden=layers.ffn_hidden,
        pairs=None if pairs is None else pairs.blocks,
    )
    counts = []
    for at, (block, mixer) in enumerate(zip(left, layers.mixers or ("msa",) * len(left), strict=True)):
        selecting = 0
        if at in trace.blocks:
            seen = trace.tokens[at - 1] - geometry.prefix_tokens  # patches and packages of the block before
            look = None if pairs is None else pairs.looks[trace.blocks.index(at)]
            selecting = selecting_macs(geometry, block, seen, patches[at - 1], ranked=layers.ranked, pairs=look)
        counts.append(block_macs(block, mixer, selecting))
    return tuple(counts)


def _trace_pairs(geometry: Geometry, trace: TokenTrace) -> Pairs | None:
    """Who attended to whom in one image; None: there are no windows."""
    windows = geometry.windows()
    if not windows:
        return None
    kept = [row[None, : trace.patches_at(stage)] for stage, row in enumerate(trace.kept, 1)]
    patches = patches_left(geometry, trace.blocks, trace.kept_counts)
    package = [np.array([trace.tokens[at] > geometry.prefix_tokens + patches[at]]) for at in trace.blocks]
    return image_pairs(windows, trace.blocks, kept, package)[0]
