"""What a model costs: multiply-adds by part, and recorded accuracy against cost."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import cycle

import plotly.graph_objects as go

from core.results import MacCount, Recorded
from core.timings import Latency, LatencyTable, PathCosts
from viz.theme import (
    DENSE,
    FFN,
    MARK,
    PART_WORDS,
    PARTS,
    PRUNED,
    QUIET,
    SELECTORS,
    fill,
    layout,
    macs_text,
    percent,
)

_SERIES = ((DENSE, "square"), (PRUNED, "circle"), (SELECTORS[2].colour, "diamond"), (FFN, "triangle-up"))


def macs_by_part(rows: Sequence[tuple[str, MacCount]]) -> go.Figure:
    """One bar per model, stacked by part of the model; its name and total stand above its bar.

    Args:
        rows: What to call each model, and its count; the first stands on top.
    """
    figure = go.Figure()
    for part in (f.name for f in fields(MacCount)):
        values = [getattr(count, part) for _, count in rows]
        if any(values):
            figure.add_bar(
                y=list(range(len(rows))),
                x=[value / 1e6 for value in values],
                customdata=[name for name, _ in rows],
                orientation="h",
                width=0.5,
                name=PART_WORDS[part],
                marker=fill(PARTS[part]),
                hovertemplate=f"{PART_WORDS[part]}: %{{x:.3~g}} M MACs<extra>%{{customdata}}</extra>",
            )
    for row, (name, count) in enumerate(rows):
        text = f"{name}: <b>{macs_text(count.total)}</b>"
        figure.add_annotation(
            x=0, y=row - 0.28, text=text, showarrow=False, xanchor="left", yanchor="bottom", font={"size": 14}
        )
    layout(figure, 110 + 66 * len(rows), barmode="stack", legend_traceorder="normal")
    figure.update_yaxes(range=[len(rows) - 0.6, -0.75], showticklabels=False, showgrid=False, zeroline=False)
    return figure.update_xaxes(title_text="M MACs", gridcolor=QUIET, rangemode="tozero")


def frontier(rows: Sequence[Recorded], here: Sequence[tuple[str, float]] = ()) -> go.Figure:
    """Recorded top-1 accuracy against mean multiply-adds per photo; dotted lines: the cost of the present settings.

    Args:
        rows: Recorded evaluations.
        here: Names and multiply-adds of what is set right now.
    """
    figure = go.Figure()
    models = list(dict.fromkeys(row.model for row in rows))
    for index, model in enumerate(models):
        mine = sorted((row for row in rows if row.model == model), key=lambda row: row.mean_macs)
        colour, symbol = _SERIES[index % len(_SERIES)]
        figure.add_scatter(
            x=[row.mean_macs / 1e6 for row in mine],
            y=[row.top1 * 100 for row in mine],
            customdata=[row.setting or "own decision" for row in mine],
            mode="lines+markers",
            name=model,
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 10, "color": colour},
            hovertemplate="%{customdata}: %{y:.1f} % top-1 at %{x:.3~g} M MACs<extra>" + model + "</extra>",
        )
    heights = [min(row.top1 for row in rows) * 100, max(row.top1 for row in rows) * 100]
    for (name, macs), dash in zip(here, cycle(("dot", "dash"))):
        figure.add_scatter(
            x=[macs / 1e6] * 2,
            y=heights,
            mode="lines",
            name=f"You are here: {name}",
            line={"color": MARK, "width": 3, "dash": dash},
            hovertemplate=f"{name}: %{{x:.3~g}} M MACs<extra>you are here</extra>",
        )
    layout(figure, 400)
    figure.update_xaxes(title_text="M MACs per photo (mean)", gridcolor=QUIET)
    return figure.update_yaxes(title_text="Top-1 accuracy, %")


def device_text(timed: Latency | PathCosts | LatencyTable) -> str:
    """On what it was timed: cpu, 2 threads, batch 1."""
    return f"{timed.device}, {timed.threads} thread{'s' * (timed.threads != 1)}, batch {timed.batch}"


def latency_text(latency: Latency) -> str:
    """Median and spread with all that one must know to repeat it."""
    return (
        f"{latency.median_ms:.1f} ms median, {latency.iqr_ms:.1f} ms between the quartiles, on {device_text(latency)}, "
        f"{latency.dtype}, {latency.repeats} runs"
    )


def saving_sentence(macs: int, dense_macs: int) -> str:
    """In plain words, what was saved; honest when nothing was."""
    if macs >= dense_macs:
        return f"Nothing saved: {macs_text(macs)} against {macs_text(dense_macs)} dense"
    saved = percent(1 - macs / dense_macs)
    return f"{saved} of the multiply-adds saved: {macs_text(macs)} instead of {macs_text(dense_macs)}"
