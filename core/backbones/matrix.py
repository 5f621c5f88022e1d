"""timm's pre-norm block at inference on one image's tokens as a matrix, (T, D).

Engines that run fixed graphs need fewer steps for it than for the same with a batch of one in front (measured in
assets/benchmarks.md). `core.soft_tokens.lean` is the same idea for eager torch, which would rather fuse attention.
"""

from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor


def matrix_block(block: Block, x: Tensor) -> Tensor:
    """A block of any mixer, (T, D) to (T, D)."""
    if type(block.attn) is not Attention:
        return block(x[None]).flatten(0, 1)
    x = x + block.ls1(_attend(block.attn, block.norm1(x)))
    return x + block.ls2(block.mlp(block.norm2(x)))


def _attend(attn: Attention, x: Tensor) -> Tensor:
    """timm's attention without gate and norm behind it, as `core.backbones.deit.check_supported` has it."""
    tokens, width = x.shape
    qkv = attn.qkv(x).view(tokens, 3, attn.num_heads, attn.head_dim).permute(1, 2, 0, 3)  # (3, H, T, d)
    q, k, v = attn.q_norm(qkv[0]), attn.k_norm(qkv[1]), qkv[2]  # by number: engines then skip a copy of each
    weights = ((q * attn.scale) @ k.mT).softmax(dim=-1)  # (H, T, T)
    return attn.proj((weights @ v).transpose(0, 1).reshape(tokens, width))
