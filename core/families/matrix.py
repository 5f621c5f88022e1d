"""timm's pre-norm block at inference on one image's tokens as a matrix, (T, D).

Engines that run fixed graphs need fewer steps for it than for the same with a batch of one in front (measured in
assets/benchmarks.md). `core.soft_tokens.lean` is the same idea for eager torch, which would rather fuse attention.
"""

from functools import partial

from timm.layers import Attention
from torch import Tensor

from core.families.block import PreNorm, attention, prenorm, spelled_out


def matrix_block(block: PreNorm, x: Tensor) -> Tensor:
    """A block of any mixer, (T, D) to (T, D)."""
    if type(block.attn) is not Attention:
        return block(x[None]).flatten(0, 1)
    return prenorm(block, x, partial(attention, block.attn, weigh=spelled_out))
