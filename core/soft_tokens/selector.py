"""The token selector: a keep and a prune score per patch from every head, averaged by each head's importance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.soft_tokens.packed import image_of

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

        def average(shared: Tensor) -> Tensor:
            if len(counts) == 1:
                return shared[:, prefix:].sum(dim=1, keepdim=True) / max(1, counts[0] - prefix)
            parts = [part[:, prefix:] for part in shared.split(list(counts), dim=1)]
            return torch.stack([part.sum(dim=1) / max(1, part.shape[1]) for part in parts], dim=1)

        return selector_scores(self, x, average, None if len(counts) == 1 else image_of(counts, x.device))

    def masked(self, x: Tensor, alive: Tensor) -> Scores:
        """The same with nothing removed: tokens (B, N, D), alive 1 or 0, (B, N); only these enter the average."""
        batch, tokens, _ = x.shape
        weight = alive.to(x.dtype)[..., None]  # (B, N, 1)
        count = weight.sum(dim=1).clamp(min=1.0)  # (B, 1)

        def average(shared: Tensor) -> Tensor:
            return (shared.unflatten(1, (batch, tokens)) * weight).sum(dim=2) / count

        image = torch.arange(batch, device=x.device).repeat_interleave(tokens)
        flat = selector_scores(self, x.flatten(0, 1), average, image)
        parts = (flat.logits, flat.keep_prob, flat.per_head, flat.importance)
        return Scores(*(part.unflatten(0, (batch, tokens)) for part in parts))


def selector_scores(selector: Selector, x: Tensor, average: Callable[[Tensor], Tensor], image: Tensor | None) -> Scores:
    """The selector's formula, in a form that touches the tokens few times.

    Each head: LayerNorm, Linear d->d, GELU; half of the channels stay local, half are averaged over the alive
    tokens and given to all; Linear d->d/2, GELU, Linear ->d/4, GELU, Linear ->2. The norm's scale and shift are
    folded into the first layer, the average goes through its half of the second one once per image, and the mean over
    a head's channels is part of the first importance layer.

    Args:
        selector: With its weights.
        x: Tokens, (M, D).
        average: From (H, M, d/2) to each image's mean, (H, B, d/2).
        image: int (M,), the image of each token; None where there is one image.
    """
    dim, heads = x.shape[1], selector.heads
    normed = functional.group_norm(x, heads, eps=1e-5)  # a layer norm over each head's channels, twice as fast
    split = normed.unflatten(1, (heads, -1)).transpose(0, 1)  # (H, M, d)
    embed, norm = selector.embed, selector.norm
    bias = embed.bias + (embed.weight @ norm.bias[..., None])[..., 0]
    hidden = functional.gelu(torch.baddbmm(bias[:, None], split, (embed.weight * norm.weight[:, None]).mT))
    local, shared = hidden.chunk(2, dim=-1)  # (H, M, d/2) each
    mine, everyones = selector.reduce.weight.split((local.shape[-1], shared.shape[-1]), dim=-1)
    context = torch.baddbmm(selector.reduce.bias[:, None], average(shared), everyones.mT)  # (H, B, d/2)
    hidden = torch.bmm(local, mine.mT) + (context if image is None else context[:, image])
    hidden = selector.mix(functional.gelu(hidden))
    score, shift = selector.score.weight, selector.score.bias  # (H, 2, d/4), (H, 2): keep and prune
    difference = torch.baddbmm(
        (shift[:, :1] - shift[:, 1:])[:, None], functional.gelu(hidden), (score[:, :1] - score[:, 1:]).mT
    )
    margin = difference[..., 0].t().float()  # (M, H): t_h = sigmoid(margin), log(1 - t_h) = log t_h - margin
    per_head = margin.sigmoid()
    squeeze, _, widen, squash = selector.importance
    spread = squeeze.weight.repeat_interleave(dim // heads, dim=1) / (dim // heads)  # of means over channels
    w = squash(widen(functional.gelu(functional.linear(x, spread, squeeze.bias)))).float()  # (M, H)
    share = w / w.sum(dim=-1, keepdim=True)
    keep = (share * functional.logsigmoid(margin)).sum(dim=1)
    return Scores(
        logits=torch.stack((keep, keep - (share * margin).sum(dim=1)), dim=-1),
        keep_prob=(share * per_head).sum(dim=1),
        per_head=per_head,
        importance=w,
    )


def shift_margin(selector: Selector, by: float) -> None:
    """Add `by` to every token's margin, in place: the threshold of a decision becomes part of the weights."""
    with torch.no_grad():
        selector.score.bias[:, 0] += by
