"""One package for an image, into which each selector folds what it drops: that of families that pool."""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.config import Packaging


@dataclass(frozen=True, eq=False)
class Carried:
    """The package of each image between two selectors."""

    token: Tensor
    """(B, D); of no meaning where there is none."""
    weight: Tensor
    """(B,): sum of the keep probabilities of all that was folded into it so far."""
    exists: Tensor
    """bool (B,)."""


def nothing_carried(batch: int, width: int, like: Tensor) -> Carried:
    """Before the first selector, no image has a package."""
    none = torch.zeros(batch, dtype=torch.bool, device=like.device)
    return Carried(like.new_zeros(batch, width), torch.zeros(batch, device=like.device), none)


@dataclass(frozen=True, eq=False)
class Shares:
    """What one image's package is made of after a selector."""

    patches: Tensor
    """(B, N): share of each patch that leaves here."""
    carried: Tensor
    """(B,): share of the package that was there before, 0 where there was none."""
    weight: Tensor
    """(B,): see `Carried.weight`."""
    exists: Tensor
    """bool (B,)."""


def accumulated(keep_prob: Tensor, dropped: Tensor, before: Carried, packaging: Packaging) -> Shares:
    """Shares of the patches that leave and of the package before in the package after.

    p' = (W p + sum_n w_n x_n) / (W + sum_n w_n) and W' = W + sum_n w_n, with w = keep_prob * dropped: the mean that
    folding everything at once would give, if nothing had happened to p in between. As a sum, p' = p + sum_n w_n x_n.

    Args:
        keep_prob: Probability of keeping each patch, (B, N), in (0, 1).
        dropped: 1 where the patch leaves at this stage, else 0, (B, N); float, so that gradients pass.
        before: The package so far.
        packaging: See `core.soft_tokens.package.package_weights`.

    Source: Kong et al. 2022, arXiv:2112.13890, token packaging, where PiT's package goes through the pooling like the
    class token; that it weighs by all that is in it is ours.
    """
    weight, had = keep_prob * dropped, before.exists.to(keep_prob.dtype)
    total = before.weight + weight.sum(dim=1)  # (B,)
    if packaging == "weighted_sum":
        return Shares(weight, had, total, torch.ones_like(before.exists))
    some = total > 0
    divisor = torch.where(some, total, 1.0)
    exists = before.exists | (dropped.detach() > 0).any(dim=1)
    return Shares(weight / divisor[:, None], torch.where(some, before.weight / divisor, had), total, exists)
