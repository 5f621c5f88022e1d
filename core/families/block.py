"""The pre-norm block and the attention in it: the only ones here. Every variant says what it does in place of a part.

A block is x' = x + s_1 mix(norm_1 x), and x' + s_2 ffn(norm_2 x'), each branch scaled where a family scales it, and
dropped at random in training. What mixes the tokens is what differs: attention over an image, over a packed batch, over
those that are still alive, a convolution, nothing. An attention projects tokens to queries, keys and values, weighs the
values, and projects back; what weighs them is what differs.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.nn import functional

Call = Callable[[nn.Module, Tensor], Tensor]
"""How a part is run: as the module it is, which hooks see, or as the function it stands for."""
Weigh = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Queries, keys and values, (..., H, T, d) each, and the scale of the scores, to the values weighed, (..., H, T, d)."""


class PreNorm(Protocol):
    """timm's pre-norm block of any family, with whatever pruning has put into it."""

    training: bool
    norm1: nn.Module
    attn: Any
    """Attention, or what stands in its place."""
    norm2: nn.Module
    mlp: Any

    @property
    def drop_path1(self) -> nn.Module:
        """Drops the first branch at random, in training."""
        ...

    @property
    def drop_path2(self) -> nn.Module:
        """Likewise the second."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Tokens (B, T, D), or maps (B, h, w, D), in and out."""
        ...


def as_module(part: nn.Module, x: Tensor) -> Tensor:
    """The part as it is."""
    return part(x)


def prenorm(
    block: PreNorm,
    x: Tensor,
    mix: Callable[[Tensor], Tensor],
    feed: Callable[[Tensor], Tensor] | None = None,
    *,
    call: Call = as_module,
    in_place: bool = False,
) -> Tensor:
    """A block on tokens (..., T, D) or maps, with `mix` in place of its attention.

    Args:
        block: The block.
        x: Stays as it is.
        mix: What is added of normalised tokens.
        feed: Likewise in place of its FFN; None: that.
        call: How the block's parts are run.
        in_place: Whether the sums may be written over what `mix` and `feed` return: not where gradients pass.
    """
    x = take_mixed(block, x, mix(call(block.norm1, x)), call=call, in_place=in_place)
    return take_fed(block, x, feed, call=call, in_place=in_place)


def take_mixed(block: PreNorm, x: Tensor, mixed: Tensor, *, call: Call = as_module, in_place: bool = False) -> Tensor:
    """The first half of a block, behind its mixer: x + s_1 mixed."""
    return _sum(x, _branch(block, "ls1", block.drop_path1, mixed, call), in_place)


def take_fed(
    block: PreNorm,
    x: Tensor,
    feed: Callable[[Tensor], Tensor] | None = None,
    *,
    call: Call = as_module,
    in_place: bool = False,
) -> Tensor:
    """The second half of a block: x + s_2 ffn(norm_2 x)."""
    fed = (feed or block.mlp)(call(block.norm2, x))
    return _sum(x, _branch(block, "ls2", block.drop_path2, fed, call), in_place)


def _branch(block: PreNorm, scale: str, drop_path: nn.Module, out: Tensor, call: Call) -> Tensor:
    """What a residual sum takes of a branch; not every family scales it."""
    scaling = getattr(block, scale, None)
    out = out if scaling is None else call(scaling, out)
    return drop_path(out) if block.training else out


def _sum(x: Tensor, out: Tensor, in_place: bool) -> Tensor:
    return out.add_(x) if in_place else x + out


def project(attn: Attention, x: Tensor, call: Call = as_module) -> Tensor:
    """Normalised tokens (..., T, D) to queries, keys and values, (..., T, 3, H, d), for `queries_keys_values`."""
    return call(attn.qkv, x).unflatten(-1, (3, attn.num_heads, attn.head_dim))


def queries_keys_values(attn: Attention, projected: Tensor, call: Call = as_module) -> tuple[Tensor, Tensor, Tensor]:
    """Of what `project` gives, (..., H, T, d) each, queries and keys normalised where a model does that."""
    first = projected.dim() - 4
    parts = projected.permute(first + 1, *range(first), first + 2, first, first + 3)  # (3, ..., H, T, d)
    if torch.compiler.is_compiling():
        q, k, v = parts[0], parts[1], parts[2]  # by number: engines then skip a copy of each
    else:
        q, k, v = parts.unbind(0)
    return call(attn.q_norm, q), call(attn.k_norm, k), v


def put_back(attn: Attention, heads: Tensor, call: Call = as_module) -> Tensor:
    """What the heads give, (..., H, T, d), as tokens again, (..., T, D), projected."""
    out = call(attn.proj, heads.transpose(-3, -2).flatten(-2))
    return attn.proj_drop(out) if attn.training else out


def scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """How well each query fits each key, (..., H, Q, T)."""
    return (q * scale) @ k.mT


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Weigh by a softmax of the scores, in one operation that does not tell them."""
    return functional.scaled_dot_product_attention(q, k, v)


def spelled_out(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The same in single steps."""
    return scores(q, k, scale).softmax(dim=-1) @ v


def attention(attn: Attention, x: Tensor, weigh: Weigh = fused, *, call: Call = as_module) -> Tensor:
    """timm's attention without gate and norm behind it, as `core.families.deit.check_supported` has it.

    Args:
        attn: Its weights.
        x: Normalised tokens, (..., T, D).
        weigh: How values are weighed.
        call: How its parts are run.
    """
    q, k, v = queries_keys_values(attn, project(attn, x, call), call)
    return put_back(attn, weigh(q, k, v, attn.scale), call)


def looks(attn: Attention, x: Tensor, queries: int | None = None) -> Tensor:
    """How much each of the first `queries` tokens (None: all) looks at every token, (B, H, queries, T), rows sum to 1.

    From normalised tokens (B, T, D), outside of timm's fused attention, which does not tell.
    """
    q, k, _ = queries_keys_values(attn, project(attn, x))
    return scores(q[..., :queries, :], k, attn.scale).float().softmax(dim=-1)


def class_row(attn: Attention, x: Tensor, policy: Tensor | None = None) -> Tensor:
    """Attention of the class token on every token, mean over heads, (B, T), from normalised tokens (B, T, D).

    What `looks` gives for one query, without projecting what it does not need: one query and the keys.

    Args:
        attn: Its weights.
        x: Normalised tokens, the class token first.
        policy: (B, T): token j counts as a key policy_j times, 0 or 1; None: all do.
    """
    inner = attn.num_heads * attn.head_dim
    bias = attn.qkv.bias
    parts = [(x[:, :1], slice(0, inner)), (x, slice(inner, 2 * inner))]
    q, k = (
        functional.linear(part, attn.qkv.weight[rows], None if bias is None else bias[rows])
        .unflatten(-1, (attn.num_heads, attn.head_dim))
        .transpose(1, 2)
        for part, rows in parts
    )  # (B, H, 1, d), (B, H, T, d)
    found = scores(attn.q_norm(q), attn.k_norm(k), attn.scale).float()[:, :, 0]  # (B, H, T)
    if policy is not None:
        found = found.masked_fill(policy[:, None] == 0, -torch.inf)
    return found.softmax(dim=-1).mean(dim=1)


def class_attended(block: PreNorm, x: Tensor, policy: Tensor | None = None) -> Tensor:
    """How much the class token looks at each token of a block's input (B, T, D); see `class_row`."""
    return class_row(block.attn, block.norm1(x), policy)


def class_look(attn: Attention, x: Tensor, prefix: int) -> Tensor:
    """Attention of the class token on every patch, mean over heads, (B, N), from normalised tokens (B, T, D)."""
    return looks(attn, x, queries=1)[:, :, 0, prefix:].mean(dim=1)
