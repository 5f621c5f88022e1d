"""Parameters in closed form, from shapes: of any family, dense or made by either method or both.

A pruned model has two counts. *Stored* is the form in which He et al. 2021, arXiv:2111.11802, train and release it: a
convolution still carries the value and projection matrices that it is read out of. *Compact* is plain layers. Norms
and biases count; running statistics are no parameters. The norm before a mixer stays where the mixer is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, left_blocks
from core.results import Mixer

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


def mixer_params(mixer: Mixer, block: BlockShape, biases: int) -> ParamCount:
    """Parameters of one mixer, its norm left out.

    Attention: qkv D -> 3 D and projection D -> D. Convolution of side k, stored: value and projection D -> D, head
    mixing logits (H, 9), one batch norm of d = D/H channels; compact: k x k convolution D -> d and 1x1 d -> D.

    Args:
        mixer: What the block has.
        block: Its shape.
        biases: Of queries, keys and values, and of relative positions; attention alone keeps them.
    """
    dim, heads = block.width, block.heads
    if mixer == "skip":
        return ParamCount(0, 0)
    if mixer == "msa":
        both = 3 * dim**2 + biases + linear_params(dim, dim)
        return ParamCount(both, both)
    d, area = dim // heads, OFFSETS if mixer == "conv3x3" else 1
    return ParamCount(
        stored=2 * linear_params(dim, dim) + heads * OFFSETS + norm_params(d),
        compact=linear_params(area * dim, d) + linear_params(d, dim),
    )


def block_params(mixer: Mixer, block: BlockShape, biases: int) -> ParamCount:
    """Parameters of one block: two layer norms, mixer, FFN D -> F -> D; the arguments as in `mixer_params`."""
    dim, hidden = block.width, block.ffn
    rest = 2 * norm_params(dim) + linear_params(dim, hidden) + linear_params(hidden, dim)
    return mixer_params(mixer, block, biases) + ParamCount(rest, rest)


def selector_params(dim: int, heads: int) -> int:
    """Parameters of one token selector, as it is stored; see `core.soft_tokens.selector` for its layers.

    Per head on d = D/H channels: a norm, d -> d, d -> d/2, d/2 -> d/4, d/4 -> 2; importance: H -> H/2 -> H.
    """
    d, squeezed = dim // heads, max(1, heads // 2)
    layers = ((d, d), (d, d // 2), (d // 2, d // 4), (d // 4, 2))
    per_head = norm_params(d) + sum(linear_params(*layer) for layer in layers)
    return heads * per_head + linear_params(heads, squeezed) + linear_params(squeezed, heads)


def count_params(
    geometry: Geometry,
    *,
    mixers: Sequence[Mixer] | None = None,
    ffn_hidden: Sequence[int] | None = None,
    selectors: Sequence[int] = (),
) -> ParamCount:
    """Parameters of a model of this geometry, dense or pruned either way or both.

    Args:
        geometry: The dense model.
        mixers: Per block, L of them; None: attention everywhere.
        ffn_hidden: Per block; None: the full width.
        selectors: Blocks before which token selectors stand, each as wide as its block.
    """
    left = left_blocks(geometry, ffn_hidden=ffn_hidden)
    rest = geometry.overhead_params() + sum(selector_params(left[at].width, left[at].heads) for at in selectors)
    total = ParamCount(rest, rest)
    for block, mixer in zip(left, mixers or ("msa",) * len(left), strict=True):
        total += block_params(mixer, block, geometry.bias_params(block))
    return total
