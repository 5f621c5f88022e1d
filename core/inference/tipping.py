"""Where a photo's answer flips as more of its patches leave, and the patch whose loss tipped it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from core.inference.trace import trace_tokens
from core.models.load import Loaded
from core.results import TokenTrace
from core.soft_tokens.decide import known_beforehand
from core.soft_tokens.model import SoftTokenViT


@dataclass(frozen=True)
class Flip:
    """Between which two neighbouring keep ratios the first answer changes, on the way down from the largest."""

    right: float
    """The smallest keep ratio down to which each one gave the answer of the largest."""
    wrong: float
    """The next one below: another answer."""
    again: tuple[float, ...]
    """Keep ratios below `wrong` that give the first answer again, falling."""


@dataclass(frozen=True)
class LostPatch:
    """A patch that fewer selectors kept at one setting than at another."""

    cell: int
    """Row-major, from 0, on the grid of its selectors."""
    selectors: range
    """Those that share its grid, from 0; all of them, where no family pools."""


@dataclass(frozen=True)
class Tipped:
    """What the return of one patch alone does to the probability of an answer."""

    patch: LostPatch
    prob: float
    """Of the answer, in [0, 1], with the patch back."""
    restored: bool
    """With it back the answer comes first again."""


def flip(traces: Mapping[float, TokenTrace]) -> Flip | None:
    """Where the answer of the largest keep ratio is lost.

    Args:
        traces: Of one photo and one model, by keep ratio, at least one.

    Returns:
        None where every keep ratio gives the same first answer.
    """
    ratios = sorted(traces, reverse=True)
    first = [traces[ratio].prediction.top(1)[0].index for ratio in ratios]
    changed = next((at for at, index in enumerate(first) if index != first[0]), None)
    if changed is None:
        return None
    again = tuple(
        ratio for ratio, index in zip(ratios, first, strict=True) if ratio < ratios[changed] and index == first[0]
    )
    return Flip(ratios[changed - 1], ratios[changed], again)


def lost_patches(right: TokenTrace, wrong: TokenTrace) -> tuple[LostPatch, ...]:
    """Patches that fewer selectors keep in `wrong` than in `right`, grid by grid.

    Raises:
        ValueError: If the two are not of the same selectors.
    """
    if right.blocks != wrong.blocks or right.kept.shape != wrong.kept.shape:
        raise ValueError(f"selectors before blocks {right.blocks} and {wrong.blocks}")
    found, done = [], 0
    for stage in range(1, len(right.blocks) + 1):
        if stage < len(right.blocks) and right.grid_at(stage + 1) == right.grid_at(stage):
            continue  # not yet the last selector of this grid
        selectors = range(done, stage)
        longer = right.kept[done:stage].sum(axis=0) > wrong.kept[done:stage].sum(axis=0)
        found += [LostPatch(int(cell), selectors) for cell in longer.nonzero()[0]]
        done = stage
    return tuple(found)


def with_patch(right: TokenTrace, wrong: TokenTrace, patch: LostPatch) -> np.ndarray:
    """The decisions of `wrong`, but `patch` stays as long as it does in `right`: bool (S, N)."""
    kept = wrong.kept.copy()
    for selector in patch.selectors:
        kept[selector, patch.cell] |= right.kept[selector, patch.cell]
    return kept


def trace_decided(loaded: Loaded, image: Image.Image, kept: np.ndarray) -> TokenTrace:
    """The photo once more, with the decisions given.

    Args:
        loaded: A model with token selectors.
        image: The photo.
        kept: bool (S, N), as in `TokenTrace.kept`: no patch comes back on the same grid.

    Raises:
        ValueError: If the model has no token selectors, or `kept` has not a row for each.
    """
    if not isinstance(loaded.model, SoftTokenViT):
        raise ValueError(f"{loaded.spec.name} has no token selectors")
    patches = loaded.model.patches
    if len(kept) != len(patches):
        raise ValueError(f"{len(kept)} rows of decisions for {len(patches)} selectors")
    decided = [torch.from_numpy(row[:count].copy())[None] for row, count in zip(kept, patches, strict=True)]
    return trace_tokens(loaded, image, known_beforehand(decided))


def tipping_patch(
    right: TokenTrace,
    wrong: TokenTrace,
    run: Callable[[np.ndarray], TokenTrace],
    on_run: Callable[[int, int], None] | None = None,
) -> Tipped | None:
    """Of the patches lost between two settings, the one whose return alone restores the answer most.

    Each lost patch is put back by itself and the model runs again; the first of several that do as much counts.

    Args:
        right: Gives the answer.
        wrong: Gives another one.
        run: The same photo with decisions (S, N) taken beforehand, as by `trace_decided`.
        on_run: Told before each run how many are done, and how many there are.

    Returns:
        None where no patch was lost.
    """
    answer = right.prediction.top(1)[0].index
    lost, best = lost_patches(right, wrong), None
    for done, patch in enumerate(lost):
        if on_run is not None:
            on_run(done, len(lost))
        said = run(with_patch(right, wrong, patch)).prediction
        prob = float(said.probs[answer])
        if best is None or prob > best.prob:
            best = Tipped(patch, prob, said.top(1)[0].index == answer)
    return best
