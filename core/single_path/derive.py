"""From gates and a budget to an Architecture: close gates in one fixed order until the count fits."""

import numpy as np

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.results import BY_OPEN_GATES, Architecture
from core.single_path.model import SinglePathViT
from core.single_path.searched import Gates


def gates_of(model: SinglePathViT, geometry: Geometry) -> Gates:
    """The gate logits of a model, as NumPy."""
    return Gates(
        geometry,
        np.stack([path.mixer_logits.detach().cpu().numpy() for path in model.paths]).astype(np.float64),
        tuple(path.ffn_logits.detach().cpu().numpy().astype(np.float64) for path in model.paths),
    )


def budget_range(gates: Gates) -> tuple[int, int]:
    """MACs with every gate closed, and dense MACs."""
    geometry = gates.geometry
    return geometry.overhead(geometry.blocks()).total, count_macs(geometry).total


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
    order, saved = gates.closing_order
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
