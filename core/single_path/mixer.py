"""The convolutions inside an attention: kernels mixed from the value and projection weights of its heads."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

OFFSETS = 9
CENTRE = 4
"""Offset k sits at row k // 3, column k % 3 of the 3x3 kernel."""


@dataclass(frozen=True, eq=False)
class Kernels:
    """What a 3x3 and a 1x1 convolution read out of one attention."""

    weight: Tensor
    """K, (9, d, D): into the bottleneck, per offset."""
    bias: Tensor
    """beta, (9, d)."""
    out: Tensor
    """V, (9, D, d): back to the model's width, per offset."""


def head_dim(attn: Any) -> int:
    """d of timm's attention of any family, also where it is wider than D / H."""
    return attn.qkv.out_features // (3 * attn.num_heads)


def head_mixing(logits: Tensor, alpha: float) -> Tensor:
    """p, softmax over heads of A / alpha, (H, 9): each offset's share of each head."""
    return (logits / alpha).softmax(dim=0)


def read_kernels(attn: Any, p: Tensor) -> Kernels:
    """K_k = sum_h p_hk W_h, beta_k = sum_h p_hk b_h, V_k = sum_h p_hk U_h.

    Args:
        attn: timm's attention of any family; its value rows and projection columns are used as they are.
        p: Head mixing, (H, 9), columns summing to 1.

    Source: He et al. 2021, arXiv:2111.11802, weight sharing between MSA and convolution.
    """
    heads, d, dim = attn.num_heads, head_dim(attn), attn.qkv.in_features
    value = attn.qkv.weight[2 * heads * d :].reshape(heads, d, dim)
    bias = attn.qkv.bias[2 * heads * d :] if attn.qkv.bias is not None else value.new_zeros(heads * d)
    project = attn.proj.weight.reshape(dim, heads, d)
    return Kernels(
        weight=torch.einsum("hk,hde->kde", p, value),
        bias=torch.einsum("hk,hd->kd", p, bias.reshape(heads, d)),
        out=torch.einsum("hk,ehd->ked", p, project),
    )


def conv3x3(x: Tensor, kernels: Kernels, norm: nn.BatchNorm2d, project_bias: Tensor | None) -> Tensor:
    """y = (sum_k V_k) ReLU(BN(conv3x3(x; K) + sum_k beta_k)) + u, zero padding 1; maps (B, D, h, w) in and out."""
    _, d, dim = kernels.weight.shape
    weight = kernels.weight.permute(1, 2, 0).reshape(d, dim, 3, 3)
    hidden = functional.relu(norm(functional.conv2d(x, weight, kernels.bias.sum(dim=0), padding=1)))
    return functional.conv2d(hidden, kernels.out.sum(dim=0)[:, :, None, None], project_bias)


def conv1x1(x: Tensor, kernels: Kernels, norm: nn.BatchNorm2d, project_bias: Tensor | None) -> Tensor:
    """y = V_c ReLU(BN(K_c x + beta_c)) + u with c the centre offset; maps (B, D, h, w) in and out."""
    hidden = functional.relu(norm(functional.conv2d(x, kernels.weight[CENTRE, :, :, None, None], kernels.bias[CENTRE])))
    return functional.conv2d(hidden, kernels.out[CENTRE, :, :, None, None], project_bias)
