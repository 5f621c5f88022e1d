"""From scores to decisions: the selector's own, a keep ratio, or a threshold; deterministic, all of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from core.config import ModelSpec
from core.errors import InputError
from core.soft_tokens.selector import Scores

Decide = Callable[[int, Scores, Tensor], Tensor]
"""Stage, scores of the patches, alive (B, n) bool -> kept (B, n) bool, a subset of alive.

n is N for several images, but of one image only the patches that are still alive are shown.
"""


def own_decision(stage: int, scores: Scores, alive: Tensor) -> Tensor:
    """Keep where the keep logit is at least the prune logit; a tie keeps, as in the release."""
    return (scores.margin >= 0) & alive


def above(threshold: float) -> Decide:
    """Keep where the keep probability is above `threshold`, in [0, 1)."""

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        return (scores.keep_prob > threshold) & alive

    return decide


def top_share(keep: Sequence[float], patches: int | Sequence[int]) -> Decide:
    """Keep the k patches with the highest keep logits, k = ceil(share x N).

    Args:
        keep: Share for each selector.
        patches: N of the grid that each selector sees; one number where it is the same for all.
    """
    counts = keep_counts(keep, patches)

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        return top_k(scores.keep_logit, alive, counts[stage])

    return decide


def top_k(value: Tensor, alive: Tensor, count: int) -> Tensor:
    """The `count` alive tokens of each row with the highest value (B, n); all of them where fewer are alive."""
    ranked = value.masked_fill(~alive, -math.inf).argsort(dim=1, descending=True, stable=True)
    chosen = torch.zeros_like(alive).scatter(1, ranked[:, :count], True)
    return chosen & alive


def keep_counts(keep: Sequence[float], patches: int | Sequence[int]) -> list[int]:
    """`keep_count` for each selector; the arguments as in `top_share`."""
    each = [patches] * len(keep) if isinstance(patches, int) else patches
    return [keep_count(share, count) for share, count in zip(keep, each, strict=True)]


def keep_count(share: float, patches: int) -> int:
    """ceil(share x N), forgiving the last bit of a floating-point product."""
    return math.ceil(share * patches - 1e-9)


def random_like(counts: list[Tensor], generator: torch.Generator) -> Decide:
    """Random dropping that keeps, in each image and stage, as many patches as `counts` says: the rival to beat.

    Args:
        counts: Per stage (B,), patches to keep.
        generator: For a repeatable draw.
    """

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        value = torch.rand(alive.shape, generator=generator).to(alive.device).masked_fill(~alive, -1.0)
        rank = value.argsort(dim=1, descending=True).argsort(dim=1)
        return (rank < counts[stage].to(alive.device)[:, None]) & alive

    return decide


@dataclass(frozen=True, eq=False)
class AttentionLike:
    """The other rival: as many patches as `counts` says, those that the class token attends to most in the next block.

    Source: Liang et al. 2022, arXiv:2202.07800 (EViT), attentiveness of the class token.
    """

    counts: list[Tensor]
    """Per stage (B,), patches to keep."""
    looks = True
    """Asks for `Scores.attention`."""

    def __call__(self, stage: int, scores: Scores, alive: Tensor) -> Tensor:
        """See `Decide`."""
        rank = scores.looked.masked_fill(~alive, -1.0).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < self.counts[stage].to(alive.device)[:, None]) & alive


@dataclass(frozen=True, eq=False)
class AttentionShare:
    """The same with one count for all images: k = ceil(share x N)."""

    keep: tuple[float, ...]
    patches: int | tuple[int, ...]
    """As in `top_share`."""
    looks = True

    def __call__(self, stage: int, scores: Scores, alive: Tensor) -> Tensor:
        """See `Decide`."""
        return top_k(scores.looked, alive, keep_counts(self.keep, self.patches)[stage])


def attention_mass(mass: float) -> Decide:
    """Keep the fewest patches that hold this share of the attention on all patches still alive, in (0, 1].

    Another number of patches for each photo; of use where keep probabilities are attention
    (`core.soft_tokens.ranking`).
    """

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        value = scores.keep_prob.double().masked_fill(~alive, 0.0)
        value, order = value.sort(dim=1, descending=True, stable=True)
        before = value.cumsum(dim=1) - value
        wanted = before < mass * value.sum(dim=1, keepdim=True) * (1 - 1e-9)
        return torch.zeros_like(alive).scatter(1, order, wanted) & alive

    return decide


def random_share(
    keep: Sequence[float], patches: int | Sequence[int], generator: torch.Generator | None = None
) -> Decide:
    """Random dropping with one count for all images, k = ceil(share x N); the arguments as in `top_share`.

    `generator` is for a repeatable draw; without one torch's own is used.
    """
    counts = keep_counts(keep, patches)

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        return top_k(torch.rand(alive.shape, generator=generator).to(alive.device), alive, counts[stage])

    return decide


def known_beforehand(kept: Sequence[Tensor]) -> Decide:
    """Decisions that were taken elsewhere: (1, N) bool per stage, the same for every image of a batch."""

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        wanted = kept[stage]
        if stage and alive.shape[1] < wanted.shape[1]:  # of one image only the patches still alive are shown
            wanted = wanted[kept[stage - 1]][None]
        return wanted.expand_as(alive) & alive

    return decide


def check_keep(
    keep: Sequence[float], stages: int, flag: str = "--keep", patches: Sequence[int] | None = None
) -> tuple[float, ...]:
    """`keep` as one share per selector.

    Args:
        keep: To check.
        stages: How many selectors there are.
        flag: That gave it.
        patches: N of the grid that each selector sees; None: the same for all. Shares are of that grid, so they may
            rise from one grid to the next.

    Raises:
        InputError: If there are not as many as selectors, one is outside (0, 1], or they rise.
    """
    if len(keep) != stages:
        raise InputError(f"This model has {stages} selectors, so {flag} takes {stages} shares, not {len(keep)}.")
    if any(not 0 < share <= 1 for share in keep):
        raise InputError(f"Keep ratios are shares above 0 and up to 1; {', '.join(map(str, keep))} is not possible.")
    grids = patches or [0] * stages
    if any(b > a and one == other for (a, b), (one, other) in zip(pairwise(keep), pairwise(grids), strict=True)):
        what = "the patches of one grid, on which" if len(set(grids)) > 1 else "the original patches, so"
        raise InputError(f"Keep ratios count {what} they never rise; {', '.join(map(str, keep))} does.")
    return tuple(float(share) for share in keep)


def decision(spec: ModelSpec, stages: int, patches: Sequence[int]) -> Decide:
    """How a model of `stages` selectors, each on so many `patches`, decides: by keep ratio, by threshold, or by itself.

    Raises:
        InputError: If `spec` has both, or one that is not possible.
    """
    if spec.keep is not None and spec.threshold is not None:
        raise InputError("Give a keep ratio or a threshold, not both.")
    if spec.mass is not None:
        if spec.keep is not None or spec.threshold is not None:
            raise InputError("Give an attention mass, a keep ratio or a threshold, only one of them.")
        if not 0 < spec.mass <= 1:
            raise InputError(f"An attention mass is a share above 0 and up to 1; not {spec.mass}.")
        return attention_mass(spec.mass)
    if spec.threshold is not None and not 0 <= spec.threshold < 1:
        raise InputError(f"A threshold lies between 0 and 1; {spec.threshold} does not.")
    if spec.keep is not None:
        return top_share(check_keep(spec.keep, stages, patches=patches), patches)
    return own_decision if spec.threshold is None else above(spec.threshold)
