"""timm's pre-norm block at inference in few operations: the same numbers, without copies and calls that do nothing.

On few tokens a block's multiply-adds take so little that the rest shows: at batch 1 on two CPU cores this is worth
2 to 5 % of a block (assets/benchmarks.md). Hooks on the parts of a block do not see these calls; whoever needs them
runs the block itself.
"""

from functools import partial

import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn
from torch.nn import functional

from core.families.block import PreNorm, attention, prenorm


def lean_block(block: PreNorm, x: Tensor) -> Tensor:
    """What `block(x)` gives for tokens (B, T, D), at inference; `x` stays as it is."""
    if not plain(block):
        return block(x)
    mix, feed = partial(attention, block.attn, call=as_function), partial(_ffn, block.mlp)
    return prenorm(block, x, mix, feed, call=as_function, in_place=True)


def plain(block: PreNorm) -> bool:
    """Whether the block is an attention and an FFN of timm's standard kind, no part of it made into something else."""
    attn, mlp = block.attn, block.mlp
    return (
        type(attn) is Attention
        and type(mlp) is Mlp
        and type(attn.q_norm) is nn.Identity
        and isinstance(block.norm1, nn.LayerNorm)
        and isinstance(block.norm2, nn.LayerNorm)
        and not torch.is_grad_enabled()
    )


def as_function(part: nn.Module, x: Tensor) -> Tensor:
    """The part of a block as the function that it stands for: what a module is called with takes time."""
    if type(part) is nn.Identity:
        return x
    if isinstance(part, nn.Linear):
        return functional.linear(x, part.weight, part.bias)
    if isinstance(part, nn.LayerNorm):
        return functional.layer_norm(x, part.normalized_shape, part.weight, part.bias, part.eps)
    return part(x)


def _ffn(mlp: Mlp, x: Tensor) -> Tensor:
    hidden = as_function(mlp.fc1, x)
    exact = type(mlp.act) is nn.GELU and mlp.act.approximate == "none"
    return as_function(mlp.fc2, torch.ops.aten.gelu_(hidden) if exact else mlp.act(hidden))
