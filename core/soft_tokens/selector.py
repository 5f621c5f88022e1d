"""The token selector: a keep and a prune score per patch from every head, averaged by each head's importance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.soft_tokens.context import Context, Masked, context_of

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
    attention: Tensor | None = None
    """(B, N): attention of the class token on each patch in the block behind the selector; for decisions that ask."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "Scores":
        """The same with every tensor changed alike."""
        parts = (self.logits, self.keep_prob, self.per_head, self.importance, self.attention)
        return Scores(*(None if part is None else change(part) for part in parts))

    @property
    def margin(self) -> Tensor:
        """(B, N): keep minus prune logit; at least 0 keeps."""
        return self.logits[..., 0] - self.logits[..., 1]


class HeadLinear(nn.Module):
    """One linear layer per head, on (H, M, in)."""

    def __init__(self, heads: int, in_features: int, out_features: int) -> None:
        """Initialise each head's layer as torch initialises a Linear."""
        super().__init__()
        single = [nn.Linear(in_features, out_features) for _ in range(heads)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in single]))  # (H, out, in)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in single]))  # (H, out)

    def forward(self, x: Tensor) -> Tensor:
        """(H, M, in) to (H, M, out)."""
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


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

    def forward(self, x: Tensor, counts: Sequence[int], prefix: int) -> Scores:
        """Score the tokens of a ragged batch.

        Args:
            x: Tokens of all images, image after image, each one's prefix tokens first, (M, D).
            counts: Tokens of each image, B of them, M together.
            prefix: Prefix tokens of each image; they are scored too, for nothing, and enter no average.

        Returns:
            Scores with M in place of (B, N).
        """
        return selector_scores(self, x, context_of(counts, prefix, x.device))

    def masked(self, x: Tensor, alive: Tensor) -> Scores:
        """The same with nothing removed: tokens (B, N, D), alive 1 or 0, (B, N); only these enter the average."""
        flat = selector_scores(self, x.flatten(0, 1), Masked(alive))
        return flat.map(lambda score: score.unflatten(0, alive.shape))


def selector_scores(selector: Selector, x: Tensor, context: Context) -> Scores:
    """The selector's formula, in a form that touches the tokens few times.

    Each head: LayerNorm, Linear d->d, GELU; half of the channels stay local, half are averaged over the alive
    tokens and given to all; Linear d->d/2, GELU, Linear ->d/4, GELU, Linear ->2. The norm's scale and shift are
    folded into the first layer, and the average goes through its half of the second one once per image.

    Args:
        selector: With its weights.
        x: Tokens, (M, D).
        context: Which of them share an average.
    """
    embed, reduce, norm = selector.embed, selector.reduce, selector.norm
    normed = functional.group_norm(x, selector.heads, eps=1e-5)  # a layer norm over each head's channels, twice as fast
    split = normed.unflatten(1, (selector.heads, -1)).transpose(0, 1)  # (H, M, d)
    bias = torch.baddbmm(embed.bias[..., None], embed.weight, norm.bias[..., None]).mT  # (H, 1, d)
    hidden = _gelu(torch.baddbmm(bias, split, (embed.weight * norm.weight[:, None]).mT))
    local, shared = hidden.chunk(2, dim=-1)  # (H, M, d/2) each
    mine, everyones = reduce.weight.chunk(2, dim=-1)
    images = torch.baddbmm(reduce.bias[:, None], context.average(shared), everyones.mT)  # (H, B, d/2)
    hidden = _gelu(torch.baddbmm(context.spread(images), local, mine.mT))
    hidden = _gelu(selector.mix(hidden))
    score, shift = selector.score.weight, selector.score.bias  # (H, 2, d/4), (H, 2): keep and prune
    difference = torch.baddbmm((shift[:, :1] - shift[:, 1:])[:, None], hidden, (score[:, :1] - score[:, 1:]).mT)
    margin = difference[..., 0].t().float()  # (M, H): t_h = sigmoid(margin), log(1 - t_h) = log t_h - margin
    per_head = margin.sigmoid()
    w = selector.importance(x.unflatten(1, (selector.heads, -1)).mean(dim=-1)).float()  # (M, H)
    share = w / w.sum(dim=-1, keepdim=True)
    keep = (share * functional.logsigmoid(margin)).sum(dim=1)
    return Scores(
        logits=torch.stack((keep, keep - (share * margin).sum(dim=1)), dim=-1),
        keep_prob=(share * per_head).sum(dim=1),
        per_head=per_head,
        importance=w,
    )


def _gelu(x: Tensor) -> Tensor:
    """GELU; in place where no gradient passes, since fresh memory costs more than the sum itself."""
    return functional.gelu(x) if x.requires_grad else torch.ops.aten.gelu_(x)


def shift_margin(selector: Selector, by: float) -> None:
    """Add `by` to every token's margin, in place: the threshold of a decision becomes part of the weights."""
    with torch.no_grad():
        selector.score.bias[:, 0] += by
