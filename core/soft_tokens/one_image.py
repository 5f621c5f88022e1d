"""A batch of one: prefix tokens, patches and packages lie side by side, so that a selector takes few operations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Alive
from core.soft_tokens.context import OneImage
from core.soft_tokens.decide import Decide
from core.soft_tokens.package import package_weights
from core.soft_tokens.ranking import AttentionRanking, Choosing, Look, look, ranked_scores
from core.soft_tokens.selector import selector_scores
from core.soft_tokens.stages import Pruned, packages_left


@dataclass(frozen=True, eq=False)
class Tokens:
    """One image between two blocks."""

    x: Tensor
    """(1, T, D): prefix tokens, patches row by row, packages."""
    cell: Tensor
    """int (n,): each patch's place on the grid."""


def begin(x: Tensor, prefix: int) -> Tokens:
    """Tokens (1, T, D) of which nothing has left yet."""
    return Tokens(x, torch.arange(x.shape[1] - prefix, device=x.device))


def first_tokens(tokens: Tokens, prefix: int) -> Tensor:
    """The prefix tokens, (1, `prefix`, D)."""
    return tokens.x[:, :prefix]


def left(tokens: Tokens, prefix: int, patches: int, done: Sequence[Pruned]) -> Alive:
    """What is left of the `patches` that there were, behind all selectors."""
    end = prefix + len(tokens.cell)
    packages, stands = packages_left(done, patches, tokens.x[0, end:])
    return Alive(tokens.x[0, prefix:end], (len(tokens.cell),), packages, stands)


def prune(
    tokens: Tokens,
    prefix: int,
    selector: Choosing,
    decide: Decide,
    index: int,
    packaging: Packaging,
    looking: Look | None,
) -> tuple[Tokens, Pruned]:
    """One selector's work: score, decide, fold what leaves into a package; `looking`: see `ranking.look`."""
    x = tokens.x[0]  # (T, D)
    total, end = len(x), prefix + len(tokens.cell)
    if isinstance(selector, AttentionRanking):
        scores = shown = ranked_scores(look(looking, tokens.x)[0, prefix:end])
    else:
        scores = shown = selector_scores(selector, x, OneImage(total, prefix)).map(lambda score: score[prefix:end])
        if getattr(decide, "looks", False):
            shown = replace(scores, attention=look(looking, tokens.x)[0, prefix:end])
    shown = shown.map(lambda score: score[None])
    alive = torch.ones(1, len(tokens.cell), dtype=torch.bool, device=x.device)
    kept = decide(index, shown, alive)
    stay = kept[0].nonzero()[:, 0]
    patches = x[prefix:end]
    parts = [x[:prefix], patches.index_select(0, stay), x[end:]]
    if len(stay) < len(patches) or packaging == "weighted_sum":
        weight, exists = package_weights(scores.keep_prob[None], (~kept).float(), packaging)
        parts.append(weight.to(x.dtype) @ patches)
    else:
        weight, exists = torch.zeros_like(scores.keep_prob)[None], torch.zeros(1, dtype=torch.bool, device=x.device)
    done = Pruned(tokens.cell, scores, kept[0], weight[0], exists, (total - prefix,))
    return Tokens(torch.cat(parts)[None], tokens.cell.index_select(0, stay)), done
