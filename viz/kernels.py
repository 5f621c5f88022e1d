"""The convolution inside an attention: which heads make it up at each offset, and how strong it is there."""

import math

import numpy as np
import plotly.graph_objects as go

from core.single_path.searched import KernelReading
from viz.panels import panels

_PLACES = ("left", "centre", "right")
_ROWS = ("top", "middle", "bottom")
_OFFSETS = [[f"{row} {place}" for place in _PLACES] for row in _ROWS]
PER_ROW = 4
"""Panels in a row at most."""
BRIGHT = 0.6
"""Of the scale: from here on viridis takes dark ink."""


def head_mixing(reading: KernelReading) -> go.Figure:
    """One 3x3 grid per head: its share of the kernel at each offset; one colour scale for all.

    Args:
        reading: Of one block.
    """
    heads = len(reading.head_share)
    columns = min(PER_ROW, heads)
    rows = math.ceil(heads / columns)
    most = float(reading.head_share.max())
    grids = [
        _grid(share * 100, "%.0f %%", most * 100, "%{customdata}: %{z:.1f} %<extra>" + f"Head {head + 1}</extra>")
        for head, share in enumerate(reading.head_share)
    ]
    return panels([f"Head {h + 1}" for h in range(heads)], grids, columns, 26 + 150 * rows)


def kernel_norms(reading: KernelReading) -> go.Figure:
    """Frobenius norm of the kernel's matrix at each of the nine offsets, on a scale that starts at 0."""
    norm = reading.kernel_norm
    grid = _grid(norm, "%.3g", float(norm.max()), "%{customdata}: %{z:.3g}<extra></extra>")
    return panels(["Norm at each offset"], [grid], 1, 176)


def _grid(values: np.ndarray, text: str, most: float, hover: str) -> tuple[dict, dict]:
    """A 3x3 heat map, and its values in ink that reads on each cell: white on dark, black on bright."""
    cells = {
        "type": "heatmap",
        "z": values,
        "customdata": _OFFSETS,
        "zmin": 0,
        "zmax": most,
        "colorscale": "Viridis",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": hover,
    }
    words = {
        "type": "scatter",
        "x": np.tile(np.arange(3), 3),
        "y": np.repeat(np.arange(3), 3),
        "text": [text % value for value in values.ravel()],
        "mode": "text",
        "textfont": {"size": 11, "color": ["#FFFFFF" if v < BRIGHT * most else "#111827" for v in values.ravel()]},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return cells, words


def mixing_sentence(reading: KernelReading) -> str:
    """How far the search moved the mixture from where it started, even shares for all heads."""
    low, high, even = reading.head_share.min(), reading.head_share.max(), 1 / len(reading.head_share)
    if high - low < 0.005:
        return f"The search left them even, at {100 * even:.1f} % for each head."
    return (
        f"They lie between {100 * low:.1f} and {100 * high:.1f} %; even shares, the start, would be {100 * even:.1f} %."
    )
