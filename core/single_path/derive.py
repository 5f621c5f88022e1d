"""From gates and a budget to an Architecture: close gates in one fixed order until the count fits."""

from functools import lru_cache

import numpy as np

from core.config import Geometry
from core.errors import InputError
from core.macs import block_prices, count_macs
from core.results import Architecture, Mixer
from core.searched import Gates
from core.single_path.model import SinglePathViT

BY_OPEN_GATES: tuple[Mixer, ...] = ("skip", "conv1x1", "conv3x3", "msa")
"""What a block is when its first 0, 1, 2 or 3 gates are open."""


def gates_of(model: SinglePathViT, geometry: Geometry) -> Gates:
    """The gate logits of a model, as NumPy."""
    return Gates(
        geometry,
        np.stack([path.mixer_logits.detach().cpu().numpy() for path in model.paths]).astype(np.float64),
        tuple(path.ffn_logits.detach().cpu().numpy().astype(np.float64) for path in model.paths),
    )


@lru_cache(maxsize=64)
def closing_order(gates: Gates) -> tuple[np.ndarray, np.ndarray]:
    """Every gate, least useful per multiply-add first.

    A gate's logit was learned against the price of its multiply-adds (the search's cost term pulls each gate down
    in proportion to what it costs), so the logit itself ranks usefulness per multiply-add: at 0 a gate is worth
    just what it costs. An outer gate cannot outlive an inner one, so a mixer gate ranks by the smallest logit up to
    it; then the gates above 0 are just those that are open at evaluation. Ties: the more expensive mixer first,
    then the earlier block.

    Returns:
        Gate numbers in closing order, (3 L + sum of F,), and the MACs that each saves, in that order. Gate 3 l + i is
        mixer gate 2 - i of block l (MSA first); from 3 L on come the hidden units, block by block. The same arrays for
        the same gates, so leave them as they are.
    """
    prices = block_prices(gates.geometry)
    ladder = np.array([[price.mixers[mixer] for mixer in BY_OPEN_GATES] for price in prices])  # (L, 4)
    steps = np.diff(ladder)[:, ::-1]  # MSA to 3x3, 3x3 to 1x1, 1x1 to nothing
    rank = np.minimum.accumulate(gates.mixer_logits, axis=1)[:, ::-1]
    score = np.concatenate((rank.ravel(), *gates.ffn_logits))
    units = np.repeat([price.unit for price in prices], gates.geometry.ffn_widths)
    cost = np.concatenate((steps.ravel(), units))
    order = np.argsort(score, kind="stable")
    return order, cost[order]


def budget_range(gates: Gates) -> tuple[int, int]:
    """MACs with every gate closed, and dense MACs."""
    geometry = gates.geometry
    least = count_macs(geometry, mixers=["skip"] * geometry.depth, ffn_hidden=[0] * geometry.depth).total
    return least, count_macs(geometry).total


def derive(gates: Gates, budget: float) -> Architecture:
    """The architecture that this budget leaves.

    Never over the budget; short of it by less than the cost of the gate that closed last; and contained in the
    architecture of any larger budget, because all budgets close gates in the same order.

    Args:
        gates: Learned gate logits.
        budget: MACs of one image.

    Raises:
        InputError: If the budget is below what is left with every gate closed.
    """
    geometry = gates.geometry
    least, dense = budget_range(gates)
    if not budget >= least:
        raise InputError(
            f"A budget of {budget / 1e9:.4g} GMACs cannot be reached; with everything closed {least / 1e9:.4g} remain "
            f"({100 * least / dense:.0f} % of dense)."
        )
    order, saved = closing_order(gates)
    left = dense - np.concatenate(([0], np.cumsum(saved)))
    closed_count = int(np.argmax(left <= budget))
    closed = np.zeros(len(order), dtype=bool)
    closed[order[:closed_count]] = True
    depth = geometry.depth
    open_gates = 3 - closed[: 3 * depth].reshape(depth, 3).sum(axis=1)
    kept = tuple(np.split(~closed[3 * depth :], np.cumsum(geometry.ffn_widths)[:-1]))
    return Architecture(
        mixers=tuple(BY_OPEN_GATES[n] for n in open_gates),
        ffn_hidden=tuple(int(units.sum()) for units in kept),
        ffn_full=geometry.ffn_widths,
        macs=int(left[closed_count]),
        dense_macs=dense,
        asked_macs=float(budget),
        step_macs=int(saved[closed_count - 1]) if closed_count else None,
        ffn_kept=kept,
    )


def settled(gates: Gates) -> Architecture:
    """The architecture of the gates' own decisions, open above probability 0.5."""
    geometry = gates.geometry
    open_gates = np.cumprod(gates.mixer_logits > 0, axis=1).sum(axis=1)
    kept = tuple(logits > 0 for logits in gates.ffn_logits)
    mixers = tuple(BY_OPEN_GATES[n] for n in open_gates)
    widths = tuple(int(units.sum()) for units in kept)
    return Architecture(
        mixers=mixers,
        ffn_hidden=widths,
        ffn_full=geometry.ffn_widths,
        macs=count_macs(geometry, mixers=mixers, ffn_hidden=widths).total,
        dense_macs=count_macs(geometry).total,
        ffn_kept=kept,
    )
