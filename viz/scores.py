"""What the selectors thought: keep probabilities and heads as heat maps on the patch grid, and how much heads count."""

import numpy as np
import plotly.graph_objects as go

from core.results import TokenTrace
from viz.panels import panels

SCALE = "viridis"
_MOST_COLUMNS = 4


def keep_maps(trace: TokenTrace) -> go.Figure:
    """Keep probability of each patch at each selector, all on one scale from 0 to 1; empty where it had left."""
    names = [f"Selector {s + 1}" for s in range(len(trace.blocks))]
    return _maps(trace.keep_prob, [trace.grid_at(s + 1) for s in range(len(names))], names, "Keep probability")


def head_maps(trace: TokenTrace, stage: int) -> go.Figure:
    """What each head of selector `stage` (from 1) thought of each patch, on the same scale."""
    heads = trace.per_head[stage - 1, :, : trace.heads_at(stage)].T  # (H, N)
    names = [f"Head {h + 1}" for h in range(len(heads))]
    return _maps(heads, [trace.grid_at(stage)] * len(heads), names, "Keep probability of this head")


def _maps(values: np.ndarray, grids: list[tuple[int, int]], names: list[str], meaning: str) -> go.Figure:
    """One heat map per row of `values` (M, N), in [0, 1] or NaN, on its own grid."""
    across = min(len(names), _MOST_COLUMNS if len(names) % 3 else 3)
    down = -(-len(names) // across)
    maps = [
        [
            {
                "type": "heatmap",
                "z": row[: rows * cols].reshape(rows, cols),
                "x": list(range(1, cols + 1)),
                "y": list(range(1, rows + 1)),
                "coloraxis": "coloraxis",
                "xgap": 1,
                "ygap": 1,
                "hoverongaps": False,
                "hovertemplate": f"Row %{{y}}, column %{{x}}: %{{z:.3f}}<extra>{name}</extra>",
            }
        ]
        for name, row, (rows, cols) in zip(names, values, grids, strict=True)
    ]
    bar = {
        "orientation": "h",
        "y": 0,
        "yanchor": "top",
        "thickness": 14,
        "len": 0.6,
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "title": {"text": f"{meaning}: 0 leaves, 1 stays", "side": "bottom"},
    }
    scale = {"colorscale": SCALE, "cmin": 0, "cmax": 1, "colorbar": bar}
    return panels(names, maps, across, 60 + 260 * down, coloraxis=scale)
