"""The token selector: a keep and a prune score per patch from every head, averaged by each head's importance."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_HEAD = 8
"""Channels per head that a selector needs: it ends in a layer of a quarter of them."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What one selector thinks of each token it saw."""

    logits: Tensor
    """(B, N, 2): keep and prune; sum_h w_h log t_h / sum_h w_h."""
    keep_prob: Tensor
    """(B, N), in (0, 1): sum_h w_h t_h,keep / sum_h w_h."""
    per_head: Tensor
    """(B, N, H): keep probability of each head."""
    importance: Tensor
    """(B, N, H), in (0, 1): weight of each head for each token."""

    @property
    def margin(self) -> Tensor:
        """(B, N): keep minus prune logit; at least 0 keeps."""
        return self.logits[..., 0] - self.logits[..., 1]


class HeadLinear(nn.Module):
    """One linear layer per head, applied to (B, N, H, in)."""

    def __init__(self, heads: int, in_features: int, out_features: int) -> None:
        """Initialise each head's layer as torch initialises a Linear."""
        super().__init__()
        single = [nn.Linear(in_features, out_features) for _ in range(heads)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in single]))  # (H, out, in)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in single]))  # (H, out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, H, in) to (B, N, H, out)."""
        return torch.einsum("bnhi,hoi->bnho", x, self.weight) + self.bias


class HeadNorm(nn.Module):
    """Layer norm over each head's channels with weights of its own, on (B, N, H, d); eps 1e-5."""

    def __init__(self, heads: int, channels: int) -> None:
        """Start as the identity scale."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, channels))
        self.bias = nn.Parameter(torch.zeros(heads, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return functional.layer_norm(x, x.shape[-1:], eps=1e-5) * self.weight + self.bias


class Selector(nn.Module):
    """Scores every patch and earlier package token; each head has weights of its own.

    Source: Kong et al. 2022, arXiv:2112.13890, multi-head token selector. The release shares one set of weights
    between the heads; the paper, and we, do not.
    """

    def __init__(self, dim: int, heads: int) -> None:
        """Args: `dim` is D, `heads` is H; D/H must be at least `LEAST_HEAD`."""
        super().__init__()
        d = dim // heads
        if d < LEAST_HEAD:
            raise ValueError(f"heads of {d} channels are too narrow for a selector; {LEAST_HEAD} is the least")
        self.heads = heads
        self.norm = HeadNorm(heads, d)
        self.embed = HeadLinear(heads, d, d)
        self.reduce = HeadLinear(heads, d, d // 2)
        self.mix = HeadLinear(heads, d // 2, d // 4)
        self.score = HeadLinear(heads, d // 4, 2)
        squeezed = max(1, heads // 2)
        self.importance = nn.Sequential(nn.Linear(heads, squeezed), nn.GELU(), nn.Linear(squeezed, heads), nn.Sigmoid())

    def forward(self, x: Tensor, alive: Tensor) -> Scores:
        """Score tokens.

        Args:
            x: Patch and package tokens, prefix tokens left out, (B, N, D).
            alive: 1 for tokens that are still there, (B, N), bool or float; only these enter the average.
        """
        return selector_scores(self, x, alive)


def selector_scores(selector: Selector, x: Tensor, alive: Tensor) -> Scores:
    """The selector's formula; see `Selector.forward` for the shapes.

    Each head: LayerNorm, Linear d->d, GELU; half of the channels stay local, half are averaged over the alive
    tokens and given to all; Linear d->d/2, GELU, Linear ->d/4, GELU, Linear ->2.
    """
    batch, tokens, dim = x.shape
    split = x.reshape(batch, tokens, selector.heads, dim // selector.heads)  # (B, N, H, d)
    hidden = functional.gelu(selector.embed(selector.norm(split)))
    local, shared = hidden.chunk(2, dim=-1)  # (B, N, H, d/2) each
    weight = alive.to(x.dtype)[:, :, None, None]
    mean = (shared * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)  # (B, 1, H, d/2)
    hidden = torch.cat((local, mean.expand_as(local)), dim=-1)
    hidden = functional.gelu(selector.mix(functional.gelu(selector.reduce(hidden))))
    log_t = selector.score(hidden).float().log_softmax(dim=-1)  # (B, N, H, 2)
    w = selector.importance(split.mean(dim=-1)).float()  # (B, N, H)
    share = (w / w.sum(dim=-1, keepdim=True))[..., None]
    return Scores(
        logits=(share * log_t).sum(dim=2),
        keep_prob=(share[..., 0] * log_t[..., 0].exp()).sum(dim=2),
        per_head=log_t[..., 0].exp(),
        importance=w,
    )


def shift_margin(selector: Selector, by: float) -> None:
    """Add `by` to every token's margin, in place: the threshold of a decision becomes part of the weights."""
    with torch.no_grad():
        selector.score.bias[:, 0] += by
