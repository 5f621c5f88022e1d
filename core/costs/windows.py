"""Windows in numbers: which cells of a grid attend to each other, and how many pairs are left when cells leave.

A window of M x M cells loses the cells that are pruned: attention runs over those it kept, and over the package, which
is a key in every window. Where windows are shifted, those at the edges are made of parts that do not see each other;
each part counts as a window of its own here. A window that has lost all of its cells costs nothing.

Source: Liu et al. 2021, arXiv:2103.14030, for windows, shifts and which parts are apart; how the package attends is in
`core.families.windows`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """How one block parts its grid."""

    grid: tuple[int, int]
    """Patch rows and columns, each a multiple of `side`."""
    side: int
    """M."""
    shift: int
    """Cells by which windows are shifted to the right and down, in [0, M)."""


class Cells(NamedTuple):
    """Where the N cells of a grid lie, row by row."""

    part: np.ndarray
    """int (N,): the window of a cell, or the part of one that it is in, from 0."""
    place: np.ndarray
    """int (N,): where in its window it is, row by row, from 0 to M^2 - 1."""
    sizes: np.ndarray
    """int (G,): cells of each part."""


@lru_cache(maxsize=64)
def cells_of(windows: Windows) -> Cells:
    """Where each cell lies; cells attend to each other if their parts are the same."""
    lines = [_line(size, windows.side, windows.shift) for size in windows.grid]
    (row_part, row_place), (col_part, col_place) = lines
    many = int(col_part.max()) + 1
    part = (row_part[:, None] * many + col_part[None]).ravel()
    place = (row_place[:, None] * windows.side + col_place[None]).ravel()
    return Cells(part, place, np.bincount(part))


def _line(size: int, side: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Part and place of each cell of one row or column; the last window is in two parts where there is a shift."""
    at = (np.arange(size) - shift) % size
    return at // side + (at >= size - shift), at % side


def pairs_of(counts: np.ndarray, package: np.ndarray | bool | int) -> np.ndarray:
    """(query, key) pairs of one attention: sum_g n_g^2, and 2 n + 1 more where there is a package.

    Each patch attends to those of its part and to the package; the package once to all patches and to itself.

    Args:
        counts: Patches left in each part, (..., G).
        package: Whether there is a package, (...).
    """
    counts = np.asarray(counts, np.int64)
    return (counts**2).sum(axis=-1) + np.asarray(package, np.int64) * (2 * counts.sum(axis=-1) + 1)


def kept_pairs(windows: Windows, kept: np.ndarray, package: np.ndarray | bool | int) -> np.ndarray:
    """Pairs of one attention over the patches that each image kept.

    Args:
        windows: Of the block.
        kept: bool (B, N).
        package: bool (B,).

    Returns:
        int (B,).
    """
    part, _, sizes = cells_of(windows)
    offset = np.arange(len(kept))[:, None] * len(sizes)
    counts = np.bincount((part[None] + offset)[kept], minlength=len(kept) * len(sizes))
    return pairs_of(counts.reshape(len(kept), len(sizes)), package)


def most_pairs(windows: Windows, patches: int, package: bool | int) -> int:
    """The most pairs that this many patches can make: where they fill the largest parts, one after the other."""
    sizes = np.sort(cells_of(windows).sizes)[::-1]
    before = np.concatenate(([0], sizes.cumsum()[:-1]))
    return int(pairs_of(np.clip(patches - before, 0, sizes), package))


def dense_pairs(windows: Windows) -> int:
    """Pairs of a dense attention, which masks between the parts of a window: N M^2."""
    return windows.grid[0] * windows.grid[1] * windows.side**2


def masked_pairs(windows: Windows) -> int:
    """Pairs where nothing is removed and pruned patches are masked: N (M^2 + 1) of patches, N + 1 of the package."""
    cells = windows.grid[0] * windows.grid[1]
    return dense_pairs(windows) + 2 * cells + 1


class Pairs(NamedTuple):
    """Pairs of one image's attentions."""

    blocks: tuple[int, ...]
    """In each block, L of them."""
    looks: tuple[int, ...]
    """In the attention that ranks patches at each selector, S of them, of use where it is a ranking."""


def image_pairs(
    windows: Sequence[Windows], blocks: Sequence[int], kept: Sequence[np.ndarray], package: Sequence[np.ndarray]
) -> list[Pairs]:
    """What each image of a batch left.

    Args:
        windows: Of each block, L of them.
        blocks: Before which the selectors stand, from 0, rising.
        kept: Per selector bool (B, n), the patches of its grid that it left.
        package: Per selector bool (B,), whether there is a package behind it.
    """
    batch = len(package[0])
    alive, there = np.ones((batch, 0), bool), np.zeros(batch, bool)
    found, looks, done = [], [], 0
    for index, here in enumerate(windows):
        if index == 0 or here.grid != windows[index - 1].grid:
            alive = np.ones((batch, here.grid[0] * here.grid[1]), bool)
        if index in blocks:
            looks.append(kept_pairs(here, alive, there))
            alive, there, done = kept[done], package[done], done + 1
        found.append(kept_pairs(here, alive, there) if done else np.full(batch, dense_pairs(here)))
    each = (np.stack(found, axis=1).tolist(), np.stack(looks, axis=1).tolist())
    return [Pairs(tuple(of_blocks), tuple(of_looks)) for of_blocks, of_looks in zip(*each, strict=True)]


def most_image_pairs(
    windows: Sequence[Windows], blocks: Sequence[int], kept: Sequence[int], package: Sequence[bool]
) -> Pairs:
    """The most that an image can have left, of which only is known how many patches each selector left.

    Args:
        windows: Of each block, L of them.
        blocks: As in `image_pairs`.
        kept: Per selector, how many patches it left.
        package: Per selector, whether there is a package behind it.
    """
    alive, there, done = 0, False, 0
    found, looks = [], []
    for index, here in enumerate(windows):
        if index == 0 or here.grid != windows[index - 1].grid:
            alive = here.grid[0] * here.grid[1]
        if index in blocks:
            looks.append(most_pairs(here, alive, there))
            alive, there, done = kept[done], package[done], done + 1
        found.append(most_pairs(here, alive, there) if done else dense_pairs(here))
    return Pairs(tuple(found), tuple(looks))
