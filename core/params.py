"""Parameters in closed form, from shapes: of flat ViTs, LV-ViT and Swin, dense or made by either method or both.

A pruned model has two counts. *Stored* is the form in which He et al. 2021, arXiv:2111.11802, train and release it: a
convolution still carries the value and projection matrices that it is read out of. *Compact* is plain layers. Norms
and biases count; running statistics are no parameters. The norm before a mixer stays where the mixer is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from core.config import Geometry
from core.lvvit_counts import FIRST_KERNEL, KERNEL, SHRINK, LvvitGeometry
from core.results import Mixer
from core.swin_counts import SwinGeometry, chosen_blocks

OFFSETS = 9
"""Of a 3x3 kernel."""


@dataclass(frozen=True)
class ParamCount:
    """Parameters of one model; both are the same where no block is a convolution."""

    stored: int
    """With the full value and projection matrices in convolution blocks."""
    compact: int
    """With plain convolutions there."""

    def __add__(self, other: "ParamCount") -> "ParamCount":
        """Of two parts together."""
        return ParamCount(self.stored + other.stored, self.compact + other.compact)


def linear_params(inputs: int, outputs: int) -> int:
    """Weight and bias of a linear layer; a k x k convolution has k^2 inputs per channel."""
    return inputs * outputs + outputs


def norm_params(dim: int) -> int:
    """Scale and shift of a layer norm or a batch norm."""
    return 2 * dim


def mixer_params(mixer: Mixer, dim: int, heads: int, bias_table: int = 0) -> ParamCount:
    """Parameters of one mixer, its norm left out.

    Attention: qkv D -> 3 D and projection D -> D. Convolution of side k, stored: value and projection D -> D, head
    mixing logits (H, 9), one batch norm of d = D/H channels; compact: k x k convolution D -> d and 1x1 d -> D.

    Args:
        mixer: What the block has.
        dim: D.
        heads: H.
        bias_table: Rows of the table of relative position biases, each of H numbers; attention alone keeps it.
    """
    if mixer == "skip":
        return ParamCount(0, 0)
    if mixer == "msa":
        both = linear_params(dim, 3 * dim) + linear_params(dim, dim) + bias_table * heads
        return ParamCount(both, both)
    d, area = dim // heads, OFFSETS if mixer == "conv3x3" else 1
    return ParamCount(
        stored=2 * linear_params(dim, dim) + heads * OFFSETS + norm_params(d),
        compact=linear_params(area * dim, d) + linear_params(d, dim),
    )


def block_params(mixer: Mixer, dim: int, heads: int, hidden: int, bias_table: int = 0) -> ParamCount:
    """Parameters of one block: two layer norms, mixer, FFN D -> F -> D; the arguments as in `mixer_params`."""
    rest = 2 * norm_params(dim) + linear_params(dim, hidden) + linear_params(hidden, dim)
    return mixer_params(mixer, dim, heads, bias_table) + ParamCount(rest, rest)


def stem_params(geometry: Geometry) -> int:
    """Parameters of embedding the patches; see `core.macs.embedding_macs`.

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


def selector_params(dim: int, heads: int) -> int:
    """Parameters of one token selector, as it is stored; see `core.soft_tokens.selector` for its layers.

    Per head on d = D/H channels: a norm, d -> d, d -> d/2, d/2 -> d/4, d/4 -> 2; importance: H -> H/2 -> H.
    """
    d, squeezed = dim // heads, max(1, heads // 2)
    layers = ((d, d), (d, d // 2), (d // 2, d // 4), (d // 4, 2))
    per_head = norm_params(d) + sum(linear_params(*layer) for layer in layers)
    return heads * per_head + linear_params(heads, squeezed) + linear_params(squeezed, heads)


@singledispatch
def count_params(geometry: object, **_: object) -> ParamCount:
    """Parameters of a model of this geometry, dense or pruned; each class of geometry registers its own count.

    Raises:
        TypeError: If none is registered for it: another family's formula would give a wrong number in silence.
    """
    raise TypeError(f"the parameters of a {type(geometry).__name__} are not counted here")


@count_params.register
def count_flat_params(
    geometry: Geometry,
    *,
    mixers: Sequence[Mixer] | None = None,
    ffn_hidden: Sequence[int] | None = None,
    selectors: Sequence[int] = (),
) -> ParamCount:
    """Parameters of a flat ViT with biases, a position for every token and no layer scale, as DeiT is.

    Args:
        geometry: The dense model.
        mixers: Per block; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
        selectors: Blocks before which token selectors stand.

    Raises:
        TypeError: If it is of a class made of `Geometry` that has no count of its own.
    """
    if type(geometry) is not Geometry:
        raise TypeError(f"the parameters of a {type(geometry).__name__} are not counted here")
    mixers = mixers or ["msa"] * geometry.depth
    ffn_hidden = ffn_hidden or [geometry.ffn_hidden] * geometry.depth
    prefix, width = geometry.prefix_tokens, geometry.width
    positions = (prefix + geometry.patches) * width
    heads = (2 if geometry.distilled else 1) * linear_params(width, geometry.classes)
    rest = stem_params(geometry) + prefix * width + positions + norm_params(width) + heads
    rest += len(selectors) * selector_params(width, geometry.heads)
    blocks = [block_params(m, width, geometry.heads, f) for m, f in zip(mixers, ffn_hidden, strict=True)]
    return sum(blocks, ParamCount(rest, rest))


@count_params.register
def count_lvvit_params(geometry: LvvitGeometry, *, selectors: Sequence[int] = ()) -> ParamCount:
    """Parameters of an LV-ViT, whose qkv may have no bias; the arguments as in `count_flat_params`."""
    width, channels = geometry.width, geometry.stem_channels
    kernels = FIRST_KERNEL**2 * 3 * channels + 2 * KERNEL**2 * channels**2
    side = geometry.patch // SHRINK
    stem = kernels + 3 * norm_params(channels) + linear_params(side**2 * channels, width)
    positions = (2 + geometry.patches) * width  # of the class token and the patches, and the class token itself
    heads = (2 if geometry.aux_head else 1) * linear_params(width, geometry.classes)
    rest = stem + positions + norm_params(width) + heads + len(selectors) * selector_params(width, geometry.heads)
    block = block_params("msa", width, geometry.heads, geometry.ffn_hidden).stored
    total = rest + geometry.depth * (block - (0 if geometry.qkv_bias else 3 * width))
    return ParamCount(total, total)


@count_params.register
def count_swin_params(
    geometry: SwinGeometry, *, mixers: Sequence[Mixer] | None = None, ffn_hidden: Sequence[int] | None = None
) -> ParamCount:
    """Parameters of a Swin; each attention has a table of (2 W - 1)^2 relative positions, for every head.

    Args:
        geometry: The dense model.
        mixers: Per block, L of them; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
    """
    table = (2 * geometry.window - 1) ** 2
    widths = [geometry.width * 2**stage for stage in range(len(geometry.depths))]
    embedding = linear_params(3 * geometry.patch**2, widths[0]) + norm_params(widths[0])
    merging = sum(norm_params(4 * width) + 4 * width * 2 * width for width in widths[:-1])
    rest = embedding + merging + norm_params(widths[-1]) + linear_params(widths[-1], geometry.classes)
    blocks = [
        block_params(m, shape.width, shape.heads, f, table)
        for shape, m, f in chosen_blocks(geometry, mixers, ffn_hidden)
    ]
    return sum(blocks, ParamCount(rest, rest))
