"""timm's pre-norm block at inference in few operations: the same numbers, without copies and calls that do nothing.

On few tokens a block's multiply-adds take so little that the rest shows: at batch 1 on two CPU cores this is worth
2 to 5 % of a block (assets/benchmarks.md). Hooks on the parts of a block do not see these calls; whoever needs them
runs the block itself.
"""

import torch
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional


def lean_block(block: Block, x: Tensor) -> Tensor:
    """What `block(x)` gives for tokens (B, T, D), at inference; `x` stays as it is."""
    if not plain(block):
        return block(x)
    x = block.ls1(_attention(block.attn, _norm(block.norm1, x))).add_(x)
    return block.ls2(_ffn(block.mlp, _norm(block.norm2, x))).add_(x)


def plain(block: Block) -> bool:
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


def _ffn(mlp: Mlp, x: Tensor) -> Tensor:
    hidden = _linear(mlp.fc1, x)
    exact = type(mlp.act) is nn.GELU and mlp.act.approximate == "none"
    return _linear(mlp.fc2, torch.ops.aten.gelu_(hidden) if exact else mlp.act(hidden))


def _attention(attn: Attention, x: Tensor) -> Tensor:
    batch, tokens, _ = x.shape
    qkv = _linear(attn.qkv, x).view(batch, tokens, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))  # (B, H, T, d)
    return _linear(attn.proj, mixed.transpose(1, 2).reshape(batch, tokens, attn.attn_dim))


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return functional.linear(x, layer.weight, layer.bias)
