"""Keep schedules: what a share of patches per selector costs, the shares that a cost asks for, and known ones.

A schedule says, for each selector, the share of the original patches that are still alive after it; where a family
pools, of the patches of the selector's own grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, repeat
from operator import mul

from core.costs.deit import DEIT
from core.costs.geometry import Geometry
from core.costs.grids import dense_tokens, end_of_grid, patches_at, patches_left, pools
from core.costs.lvvit import LVVIT
from core.costs.swin import SWIN
from core.costs.windows import most_image_pairs
from core.errors import InputError
from core.results import DENSE_LAYERS, Layers, MacCount
from core.soft_tokens.decide import check_keep, keep_counts
from core.soft_tokens.stages import pruned_macs

RELEASE_BLOCKS = (3, 6, 9)
"""Where the release puts its selectors in a DeiT: before these blocks, counted from 0."""
RELEASE_TARGETS = (0.617, 0.369, 0.137)
"""Shares that the release trains for, on every backbone (its main_l2_vit_3keep_senet.py).

For DeiT-S they come to 2.48 G with selectors and packages counted, which is how `schedule_macs` counts: 2.43 G
without both, 2.45 G with selectors alone, 2.46 G with packages alone.
"""
FITTED_BLOCKS = (3, 6)
"""Most of ours have two selectors: a third takes more time than it saves (assets/benchmarks.md)."""


@dataclass(frozen=True)
class KnownSchedule:
    """A keep schedule with a name."""

    name: str
    model: str
    """Name of the dense model: timm's, or that of LV-ViT's release."""
    blocks: tuple[int, ...]
    """A selector stands before each of these, counted from 0."""
    keep: tuple[float, ...]
    """For each the share of the original patches alive after it."""
    published_gmacs: float | None = None
    """What Kong et al. publish for the model that it is fitted to (ImageNet-1k, 224 pixels); None: to none."""


def _fitted(name: str, keep: tuple[float, ...]) -> KnownSchedule:
    size, gmacs = name.rsplit("_", 1)
    return KnownSchedule(name, f"{size}_patch16_224", FITTED_BLOCKS, keep, float(gmacs.removesuffix("g")))


FITTED_EARLY = tuple(
    KnownSchedule(f"{size}_{gmacs:g}g_early", f"{size}_patch16_224", (block,), (share,), gmacs)
    for size, gmacs, block, share in (("deit_tiny", 0.9, 3, 0.642), ("deit_small", 2.6, 2, 0.479))
)
"""One selector for the same count: less is spent on choosing, but what the photo shows is judged only once.

Fitted to tokens in 32s too: with the class token and a package there are 128 and 96, as matrix kernels work in strips
(onnxruntime took as long for 85 tokens as for 96).
"""
FITTED_LVVIT = KnownSchedule("lvvit_s_4.3g", "lvvit_s", (4, 8), (0.593, 0.352), 4.3)
"""The same places in 16 blocks as 3 and 6 are in 12."""
FITTED_SWIN = KnownSchedule("swin_tiny_3.5g", "swin_tiny_patch4_window7_224", (5, 7), (0.567, 0.321))
"""Two in the third stage, which holds half of the blocks; of 4.49 G these leave 3.5 at most."""
FITTED = {
    known.name: known
    for known in (
        _fitted("deit_tiny_1.0g", (0.824, 0.679)),
        _fitted("deit_tiny_0.9g", (0.751, 0.564)),
        _fitted("deit_small_3.9g", (0.867, 0.752)),
        _fitted("deit_small_2.6g", (0.576, 0.332)),
        *FITTED_EARLY,
        FITTED_LVVIT,
        FITTED_SWIN,
    )
}
"""Schedules that cost what was published, or what is in the name; fitted by us.

Kong et al. publish the counts in the names, but not the ratios behind them. These are not theirs: each is r, or r, r^2,
to three decimals, for the r whose count, selectors and packages included, comes nearest.
"""
RELEASED = tuple(
    KnownSchedule(f"deit_{size}_release", f"deit_{size}_patch16_224", RELEASE_BLOCKS, RELEASE_TARGETS)
    for size in ("tiny", "small")
)
"""What the release trains for, to be shown beside ours."""
HALVINGS = 50
"""Steps of the bisection: to the last bits of a share."""


def geometry_of(known: KnownSchedule) -> Geometry:
    """Of the dense model that a schedule is for."""
    return {**DEIT, **LVVIT, **SWIN}[known.model]


def schedule_macs(
    geometry: Geometry, blocks: tuple[int, ...], keep: tuple[float, ...], layers: Layers = DENSE_LAYERS
) -> MacCount:
    """MACs of one image that keeps exactly ceil(share x N) patches at each stage, selectors and packages included.

    In windows the count depends on where the kept patches lie, too; it is then the most that an image can cost: where
    they fill some windows and leave others empty.

    A stage that drops something leaves one package token behind, which all later blocks and selectors see.

    Args:
        geometry: The dense model.
        blocks: Before which the selectors stand, rising, counted from 0.
        keep: For each selector the share of the N patches of its grid (a flat family's only one) still alive after it,
            in (0, 1], never rising on one grid.
        layers: What the blocks are, where single-path pruning has changed them.

    Raises:
        InputError: If the shares are not one per selector, not in (0, 1], or rise.

    Source: Kong et al. 2022, arXiv:2112.13890, for where tokens leave; the count is that of `core.costs.macs`.
    """
    tokens, selectors = schedule_tokens(geometry, blocks, keep)
    patches = patches_left(geometry, blocks, keep_counts(keep, patches_at(geometry, blocks)))
    pairs = None
    if windows := geometry.windows():
        package = [tokens[at] > geometry.prefix_tokens + patches[at] for at in blocks]
        pairs = most_image_pairs(windows, blocks, [patches[at] for at in blocks], package)
    return pruned_macs(geometry, tuple(tokens), patches, tuple(selectors), layers, tuple(blocks), pairs)


def schedule_tokens(
    geometry: Geometry, blocks: tuple[int, ...], keep: tuple[float, ...]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of an image in each block, and for each selector what it sees: tokens but the prefix, and patches of them.

    Args and errors: see `schedule_macs`.
    """
    dense, patches = dense_tokens(geometry), patches_at(geometry, blocks)
    tokens, packages, selectors = list(dense), 0, []
    counts = keep_counts(check_keep(keep, len(blocks), patches=patches), patches)
    for block, kept in zip(blocks, counts, strict=True):
        alive = tokens[block] - geometry.prefix_tokens - packages
        selectors.append((alive + packages, alive))
        packages = max(packages, int(kept < alive)) if pools(geometry) else packages + (kept < alive)
        end = end_of_grid(geometry, block)
        tokens[block:end] = [geometry.prefix_tokens + kept + packages] * (end - block)
        tokens[end:] = [every + packages for every in dense[end:]]
    return tokens, selectors


def fit_keep(
    geometry: Geometry, blocks: tuple[int, ...], macs: float, layers: Layers = DENSE_LAYERS
) -> tuple[float, ...]:
    """The schedule r, r^2, r^3, ... whose count is nearest to `macs` and not above it.

    Every selector keeps the share r of the patches that reach it; where a family pools, the powers begin anew on each
    grid. The count never falls as r rises, so r is found by bisection, between 1 / N (one patch left) and 1 (nothing
    dropped).

    Args:
        geometry: The dense model.
        blocks: Before which the selectors stand, rising, counted from 0.
        macs: MACs of one image (not G), selectors and packages included.
        layers: See `schedule_macs`.

    Returns:
        One share per selector, in (0, 1], never rising.

    Raises:
        InputError: If no such schedule costs `macs`; says between what they cost.
    """

    def count(rate: float) -> int:
        return schedule_macs(geometry, blocks, keep_powers(rate, patches), layers).total

    patches = patches_at(geometry, blocks)
    low, high = 1 / geometry.patches, 1.0
    least, most = count(low), count(high)
    if not least <= macs <= most:
        raise InputError(
            f"With selectors before blocks {', '.join(map(str, blocks))} this model costs {least / 1e9:.4g} to "
            f"{most / 1e9:.4g} GMACs, so {macs / 1e9:.4g} cannot be reached."
        )
    if macs == most:
        return keep_powers(high, patches)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) <= macs else (low, middle)
    return keep_powers(low, patches)


def keep_powers(rate: float, patches: Sequence[int]) -> tuple[float, ...]:
    """`rate` to the power of 1, 2, ... for the selectors of each grid; `patches` is N of the grid of each."""
    return tuple(power for _, some in groupby(patches) for power in accumulate(repeat(rate, len(list(some))), mul))
