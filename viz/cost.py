"""What a model costs: multiply-adds by part, and time, with all that one must know of a measurement."""

from collections.abc import Sequence
from dataclasses import fields

import plotly.graph_objects as go

from core.results import MacCount
from core.results.timings import CostCurve, Latency, LatencyTable, PathCosts, Rounding, StagedCosts
from viz.theme import (
    PART_WORDS,
    PARTS,
    QUIET,
    drawn,
    fill,
    macs_text,
    percent,
)


def macs_by_part(rows: Sequence[tuple[str, MacCount]]) -> go.Figure:
    """One bar per model, stacked by part of the model; its name and total stand above its bar.

    Args:
        rows: What to call each model, and its count; the first stands on top.
    """
    traces: list[dict] = []
    for part in (f.name for f in fields(MacCount)):
        values = [getattr(count, part) for _, count in rows]
        if any(values):
            traces.append(
                {
                    "type": "bar",
                    "y": list(range(len(rows))),
                    "x": [value / 1e6 for value in values],
                    "customdata": [name for name, _ in rows],
                    "orientation": "h",
                    "width": 0.5,
                    "name": PART_WORDS[part],
                    "marker": fill(PARTS[part]),
                    "hovertemplate": f"{PART_WORDS[part]}: %{{x:.3~g}} M MACs<extra>%{{customdata}}</extra>",
                }
            )
    above = {"x": 0, "showarrow": False, "xanchor": "left", "yanchor": "bottom", "font": {"size": 14}}
    return drawn(
        traces,
        110 + 66 * len(rows),
        barmode="stack",
        legend_traceorder="normal",
        annotations=[
            {**above, "y": row - 0.28, "text": f"{name}: <b>{macs_text(count.total)}</b>"}
            for row, (name, count) in enumerate(rows)
        ],
        xaxis={"title": {"text": "M MACs"}, "gridcolor": QUIET, "rangemode": "tozero"},
        yaxis={"range": [len(rows) - 0.6, -0.75], "showticklabels": False, "showgrid": False, "zeroline": False},
    )


def device_text(timed: Latency | PathCosts | StagedCosts | LatencyTable | CostCurve) -> str:
    """On what it was timed: cpu, 2 threads, batch 1."""
    return f"{timed.device}, {timed.threads} thread{'s' * (timed.threads != 1)}, batch {timed.batch}"


def latency_text(latency: Latency) -> str:
    """Median and spread with all that one must know to repeat it."""
    return (
        f"{latency.median_ms:.1f} ms median, {latency.iqr_ms:.1f} ms between the quartiles, on {device_text(latency)}, "
        f"{latency.dtype}, {latency.engine}, {latency.repeats} runs"
    )


def engine_text(latency: Latency, eager: Latency) -> str:
    """Whether an engine is worth it: the same model in it and in torch's eager mode, measured in turns."""
    ratio = eager.median_ms / latency.median_ms
    if ratio >= 1:
        return f"{ratio:.2f} times as fast as in {eager.engine}, {eager.median_ms:.1f} ms"
    return f"slower than in {eager.engine}, {eager.median_ms:.1f} ms"


def rounding_text(moved: Sequence[Rounding]) -> str:
    """What fewer bits did to the answers on some photos, as the end of a line; nothing where there are none."""
    if not moved:
        return ""
    same = sum(one.same for one in moved)
    return (
        f" Same first answer as in float32 on {same} of {len(moved)} sample pictures; probabilities differ by up to "
        f"{100 * max(one.largest for one in moved):.1f} points."
    )


def saving_sentence(macs: int, dense_macs: int) -> str:
    """In plain words, what was saved; honest when nothing was."""
    if macs >= dense_macs:
        return f"Nothing saved: {macs_text(macs)} against {macs_text(dense_macs)} dense"
    saved = percent(1 - macs / dense_macs)
    return f"{saved} of the multiply-adds saved: {macs_text(macs)} instead of {macs_text(dense_macs)}"
