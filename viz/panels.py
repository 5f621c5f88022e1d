"""Small square heat maps side by side, each with a title, laid out in one go, since Plotly is slow in steps."""

from collections.abc import Sequence

import plotly.graph_objects as go

from viz.theme import base_layout, figure

TITLE_PX = 24
"""Room for a panel's title."""


def panels(
    titles: Sequence[str], traces: Sequence[Sequence[dict]], columns: int, height: int, **more: object
) -> go.Figure:
    """Squares without axes, the first row on top.

    Args:
        titles: One per panel.
        traces: Per panel, Plotly traces as dictionaries.
        columns: Panels in a row.
        height: Of the figure, in pixels.
        more: Of the layout.
    """
    rows = -(-len(titles) // columns)
    wide, gap = (1 - 0.03 * (columns - 1)) / columns, 0.03
    title = TITLE_PX / height
    tall = 1 / rows - title
    axes, notes, data = {}, [], []
    for index, (name, mine) in enumerate(zip(titles, traces, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (wide + gap), 1 - row / rows - title
        key = "" if index == 0 else str(index + 1)
        axes[f"xaxis{key}"] = {
            "domain": [left, left + wide],
            "anchor": f"y{key}",
            "visible": False,
            "fixedrange": True,
            "constrain": "domain",
        }
        axes[f"yaxis{key}"] = {
            "domain": [max(0.0, top - tall), top],
            "anchor": f"x{key}",
            "scaleanchor": f"x{key}",
            "autorange": "reversed",
            "visible": False,
            "fixedrange": True,
            "constrain": "domain",
        }
        notes.append(
            {
                "text": name,
                "x": left + wide / 2,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 13},
            }
        )
        data += [{**trace, "xaxis": f"x{key}", "yaxis": f"y{key}"} for trace in mine]
    return figure(data, {**base_layout(height), **axes, "annotations": notes, **more})
