"""A block in which pruned tokens stay, but are no key for anybody."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from core.families.block import PreNorm, attention, prenorm, scores
from core.single_path.compact import ConvMixer, NoMixer
from core.soft_tokens.mixers import mix_patches
from core.soft_tokens.selector import Scores

CLAMP = 60.0
"""exp(60) is still far from overflow in single precision."""
SoftDecide = Callable[[int, Scores, Tensor], Tensor]
"""Stage, scores of the patches, alive (B, N) in {0, 1} -> kept (B, N) in {0, 1}; may carry gradients."""


def slice_scores(scores: Scores, patches: int) -> Scores:
    """Scores of the first `patches` tokens: packages are scored but never dropped."""
    return scores.map(lambda score: score[:, :patches])


def masked_block(block: PreNorm, x: Tensor, policy: Tensor, patches: slice) -> Tensor:
    """A block in which token j counts as a key policy_j times, (B, T, D) in and out.

    A 1x1 convolution and a missing mixer need no policy, since no token sees another there.
    """
    if isinstance(block.attn, ConvMixer):
        return prenorm(block, x, partial(mix_patches, block.attn, rows=patches))
    if isinstance(block.attn, NoMixer):
        return prenorm(block, x, block.attn)
    drop = block.attn.attn_drop if block.training else None
    return prenorm(block, x, partial(attention, block.attn, weigh=partial(by_policy, policy=policy, drop=drop)))


def by_policy(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, policy: Tensor, drop: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Weigh values (B, H, T, d) so that token j counts as a key policy_j times.

    weights_ij = policy_j exp(s_ij) / sum_k policy_k exp(s_ik). With policy (B, T) in {0, 1} this is a key mask whose
    gradient tells what a pruned token would have changed.
    """
    weights = policy_weights(scores(q, k, scale), policy[:, None, None, :]).to(v.dtype)
    return (weights if drop is None else drop(weights)) @ v


def policy_weights(found: Tensor, keys: Tensor) -> Tensor:
    """Weights of scores (..., Q, T) whose keys count `keys` times, (..., Q or 1, T), 0 or 1; at least one of a row."""
    found = found.float()
    highest = found.detach().masked_fill(keys == 0, -torch.inf).amax(dim=-1, keepdim=True)
    weights = (found - highest).clamp(max=CLAMP).exp() * keys  # clamped: a dead key may lie far above the alive ones
    return weights / weights.sum(dim=-1, keepdim=True)
