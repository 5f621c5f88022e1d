"""How much of an answer's evidence lies on the patches that a model keeps, folds into packages, or drops."""

from dataclasses import dataclass

import numpy as np

from core.results import TokenTrace


@dataclass(frozen=True)
class Portion:
    """Some patches of a photo, and what of the evidence they carry."""

    patches: int
    share: float
    """Of the evidence for the answer, in [0, 1]."""


@dataclass(frozen=True)
class Evidence:
    """An attribution, divided by what became of the patches in a model with token selectors."""

    kept: Portion
    """Tokens of their own to the end."""
    folded: Portion
    """Folded into a package."""
    dropped: Portion
    """Left without a trace."""


def divided(values: np.ndarray, trace: TokenTrace) -> Evidence | None:
    """Divide the evidence for an answer among kept, folded and dropped patches.

    The evidence of patch n is max(v_n, 0): what speaks against the answer is no evidence for it. The share of some
    patches is their evidence over that of all, sum_{n in some} max(v_n, 0) / sum_n max(v_n, 0).

    Args:
        values: An attribution, (rows, columns) of `trace.grid`; of any model that looks at the same patches.
        trace: What became of the patches. Where a family pools, what became of the cell of the last selector's grid
            that a patch lies in.

    Returns:
        None where nothing speaks for the answer.

    Raises:
        ValueError: If `values` is of another grid.
    """
    if values.shape != trace.grid:
        raise ValueError(f"an attribution of {values.shape} for patches of {trace.grid}")
    evidence = np.maximum(values, 0.0)
    total = float(evidence.sum())
    if total <= 0:
        return None
    kept, folded = (_on_input(cells, trace) for cells in _last(trace))
    masks = (kept, folded & ~kept, ~kept & ~folded)
    return Evidence(*(Portion(int(mask.sum()), float(evidence[mask].sum()) / total) for mask in masks))


def _last(trace: TokenTrace) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the last selector's grid that are kept there, and those that are in a package, bool (N,) each."""
    last = len(trace.blocks)
    folded = trace.package_weight[list(trace.same_grid(last))].max(axis=0) > 0
    return trace.kept[-1], folded


def _on_input(cells: np.ndarray, trace: TokenTrace) -> np.ndarray:
    """Cells of the last selector's grid, (N,), as patches of the input, (rows, columns)."""
    (rows, columns), (rows_in, columns_in) = trace.grid_at(len(trace.blocks)), trace.grid
    last = cells[: rows * columns].reshape(rows, columns)
    return last[np.arange(rows_in) * rows // rows_in][:, np.arange(columns_in) * columns // columns_in]
