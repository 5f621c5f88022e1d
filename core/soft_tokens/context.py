"""Which tokens share an average in the selector: those of one image, of a ragged batch, of a batch with masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Context(Protocol):
    """Half of the selector's channels are averaged over the tokens of an image and given back to all of them."""

    def average(self, shared: Tensor) -> Tensor:
        """Each image's mean, (H, B, c), of (H, M, c)."""
        ...

    def spread(self, context: Tensor) -> Tensor:
        """Each token's image's row, (H, M, c) or what broadcasts to it, of (H, B, c)."""
        ...


@dataclass(frozen=True)
class OneImage:
    """All M tokens are one image's, prefix tokens first; these enter no average."""

    tokens: int
    prefix: int

    def average(self, shared: Tensor) -> Tensor:
        """See `Context`."""
        return shared[:, self.prefix :].sum(dim=1, keepdim=True) / max(1, self.tokens - self.prefix)

    def spread(self, context: Tensor) -> Tensor:
        """See `Context`."""
        return context


@dataclass(frozen=True)
class Equal:
    """B images of T tokens each, M = B T; each image's prefix tokens come first and enter no average."""

    tokens: int
    """T."""
    prefix: int

    def average(self, shared: Tensor) -> Tensor:
        """See `Context`."""
        return shared.unflatten(1, (-1, self.tokens))[:, :, self.prefix :].mean(dim=2)

    def spread(self, context: Tensor) -> Tensor:
        """See `Context`."""
        heads, images, channels = context.shape
        if images == 1:
            return context
        return context[:, :, None].expand(heads, images, self.tokens, channels).flatten(1, 2)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Tokens of several images, image after image; as a matrix product, which is faster than any gathering."""

    inside: Tensor
    """(B, M): 1 where the token enters the image's average, else 0."""
    count: Tensor
    """(B, 1): how many do, at least 1."""

    def average(self, shared: Tensor) -> Tensor:
        """See `Context`."""
        return torch.bmm(self.inside.to(shared.dtype).expand(len(shared), -1, -1), shared) / self.count

    def spread(self, context: Tensor) -> Tensor:
        """See `Context`; tokens that enter no average (prefix tokens) get 0."""
        return torch.bmm(self.inside.t().to(context.dtype).expand(len(context), -1, -1), context)


@dataclass(frozen=True, eq=False)
class Masked:
    """B images of N tokens each, M = B N; a token enters the average as often as `alive` says, 1 or 0."""

    alive: Tensor
    """(B, N)."""

    def average(self, shared: Tensor) -> Tensor:
        """See `Context`."""
        weight = self.alive[..., None].to(shared.dtype)  # (B, N, 1)
        return (shared.unflatten(1, self.alive.shape) * weight).sum(dim=2) / weight.sum(dim=1).clamp(min=1.0)

    def spread(self, context: Tensor) -> Tensor:
        """See `Context`."""
        return context.repeat_interleave(self.alive.shape[1], dim=1)


def image_of(counts: Sequence[int], device: torch.device) -> Tensor:
    """int (M,): the image that each token of a packed batch belongs to."""
    return torch.arange(len(counts), device=device).repeat_interleave(torch.tensor(counts, device=device))


def context_of(counts: Sequence[int], prefix: int, device: torch.device) -> Ragged:
    """The context of a packed batch of several images.

    Args:
        counts: Tokens of each image, B of them.
        prefix: Prefix tokens of each image, in front of its others.
        device: Of the tokens.
    """
    tokens = torch.tensor(counts, device=device)
    begins = tokens.cumsum(0) - tokens
    place = torch.arange(int(tokens.sum()), device=device) - begins.repeat_interleave(tokens)
    images = torch.arange(len(counts), device=device)[:, None]
    inside = (image_of(counts, device) == images) & (place >= prefix)
    return Ragged(inside.float(), (tokens - prefix).clamp(min=1)[:, None].float())
