"""The token selector: a keep and a prune score per patch from every head, averaged by each head's importance."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.soft_tokens.context import Context, Masked

LEAST_HEAD = 8
"""Channels per head that a selector needs: it ends in a layer of a quarter of them."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What one selector thinks of each token it saw; what follows from it is computed when it is asked for."""

    margins: Tensor
    """(B, N, H): keep minus prune score of each head."""
    importance: Tensor
    """(B, N, H), in (0, 1): w, weight of each head for each token."""
    attention: Tensor | None = None
    """(B, N): attention of the class token on each patch in the block behind the selector; for decisions that ask."""

    @property
    def looked(self) -> Tensor:
        """`attention`, for a decision that has asked for it."""
        assert self.attention is not None
        return self.attention

    def map(self, change: Callable[[Tensor], Tensor]) -> "Scores":
        """The same with every tensor changed alike."""
        looked = None if self.attention is None else change(self.attention)
        return Scores(change(self.margins), change(self.importance), looked)

    @cached_property
    def share(self) -> Tensor:
        """(B, N, H): w_h / sum_h w_h."""
        return self.importance / self.importance.sum(dim=-1, keepdim=True)

    @cached_property
    def per_head(self) -> Tensor:
        """(B, N, H): t_h, keep probability of each head."""
        return self.margins.sigmoid()

    @cached_property
    def keep_prob(self) -> Tensor:
        """(B, N), in (0, 1): sum_h w_h t_h / sum_h w_h."""
        return (self.share * self.per_head).sum(dim=-1)

    @cached_property
    def keep_logit(self) -> Tensor:
        """(B, N): sum_h w_h log t_h / sum_h w_h."""
        log_prob = -functional.softplus(-self.margins)  # log sigmoid, in the form that other engines compute exactly
        return (self.share * log_prob).sum(dim=-1)

    @cached_property
    def margin(self) -> Tensor:
        """(B, N): keep minus prune logit, since log(1 - t_h) = log t_h - margin_h; at least 0 keeps."""
        return (self.share * self.margins).sum(dim=-1)


class HeadLinear(nn.Module):
    """Weights of one linear layer per head."""

    def __init__(self, heads: int, in_features: int, out_features: int) -> None:
        """Initialise each head's layer as torch initialises a Linear."""
        super().__init__()
        single = [nn.Linear(in_features, out_features) for _ in range(heads)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in single]))  # (H, out, in)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in single]))  # (H, out)


class HeadNorm(nn.Module):
    """Scale and shift of a layer norm over each head's channels, weights of its own; eps 1e-5."""

    def __init__(self, heads: int, channels: int) -> None:
        """Start as the identity scale."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, channels))
        self.bias = nn.Parameter(torch.zeros(heads, channels))


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

    def fold(self) -> "Folded":
        """The weights in the form that `selector_scores` takes."""
        embed, reduce, norm, score = self.embed, self.reduce, self.norm, self.score
        local, shared = reduce.weight.chunk(2, dim=-1)
        return Folded(
            heads=self.heads,
            embed=(embed.weight * norm.weight[:, None]).mT,
            embed_bias=torch.baddbmm(embed.bias[..., None], embed.weight, norm.bias[..., None]).mT,
            local=local.mT,
            shared=shared.mT,
            reduce_bias=reduce.bias[:, None],
            mix=self.mix.weight.mT,
            mix_bias=self.mix.bias[:, None],
            score=(score.weight[:, :1] - score.weight[:, 1:]).mT,
            score_bias=(score.bias[:, :1] - score.bias[:, 1:])[:, None],
            importance=self.importance,
        )

    def masked(self, x: Tensor, alive: Tensor) -> Scores:
        """The same with nothing removed: tokens (B, N, D), alive 1 or 0, (B, N); only these enter the average."""
        flat = selector_scores(self.fold(), x.flatten(0, 1), Masked(alive))
        return flat.map(lambda score: score.unflatten(0, alive.shape))


@dataclass(frozen=True, eq=False)
class Folded:
    """A selector's weights, transposed for products from the right, with what can be worked out beforehand."""

    heads: int
    embed: Tensor
    """(H, d, d), with the norm's scale."""
    embed_bias: Tensor
    """(H, 1, d), with the norm's shift."""
    local: Tensor
    """(H, d/2, d/2): the second layer's half for a token's own channels."""
    shared: Tensor
    """(H, d/2, d/2): its half for the averaged ones."""
    reduce_bias: Tensor
    mix: Tensor
    """(H, d/2, d/4)."""
    mix_bias: Tensor
    score: Tensor
    """(H, d/4, 1): keep minus prune."""
    score_bias: Tensor
    importance: nn.Module
    """Means over channels, (M, H), to weights (M, H)."""


def selector_scores(weights: Folded, x: Tensor, context: Context) -> Scores:
    """The selector's formula, in a form that touches the tokens few times.

    Each head: LayerNorm, Linear d->d, GELU; half of the channels stay local, half are averaged over the alive
    tokens and given to all; Linear d->d/2, GELU, Linear ->d/4, GELU, Linear ->2. The average goes through its half
    of the second layer once per image.

    Args:
        weights: Of the selector.
        x: Tokens, (M, D).
        context: Which of them share an average.
    """
    split = _head_norm(x, weights.heads).transpose(0, 1)  # (H, M, d)
    local, shared = _gelu(torch.baddbmm(weights.embed_bias, split, weights.embed)).chunk(2, dim=-1)  # (H, M, d/2) each
    images = torch.baddbmm(weights.reduce_bias, context.average(shared), weights.shared)  # (H, B, d/2)
    hidden = _gelu(torch.baddbmm(context.spread(images), local, weights.local))
    hidden = _gelu(torch.baddbmm(weights.mix_bias, hidden, weights.mix))
    margins = torch.baddbmm(weights.score_bias, hidden, weights.score)[..., 0].t()  # (M, H)
    importance = weights.importance(x.unflatten(1, (weights.heads, -1)).mean(dim=-1))  # (M, H)
    return Scores(margins.float(), importance.float())


def _head_norm(x: Tensor, heads: int) -> Tensor:
    """A layer norm over each head's channels, (M, D) to (M, H, d).

    As a group norm, which takes eager torch half as long; as what it is where a graph is drawn for another engine,
    since engines know layer norms.
    """
    if torch.compiler.is_compiling():
        return functional.layer_norm(x.unflatten(1, (heads, -1)), (x.shape[1] // heads,), eps=1e-5)
    return functional.group_norm(x, heads, eps=1e-5).unflatten(1, (heads, -1))


def _gelu(x: Tensor) -> Tensor:
    """GELU; in place where no gradient passes, since fresh memory costs more than the sum itself."""
    return functional.gelu(x) if x.requires_grad else torch.ops.aten.gelu_(x)


def shift_margin(selector: Selector, by: float) -> None:
    """Add `by` to every token's margin, in place: the threshold of a decision becomes part of the weights."""
    with torch.no_grad():
        selector.score.bias[:, 0] += by
