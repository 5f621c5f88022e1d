"""What a model costs: multiply-adds by part, and time, with all that one must know of a measurement."""

from collections.abc import Sequence
from dataclasses import fields

import plotly.graph_objects as go

from core.results import MacCount
from core.results.timings import (
    ENGINES,
    ROUNDED,
    CostCurve,
    Latency,
    LatencyTable,
    PathCosts,
    Rounding,
    StagedCosts,
    Swing,
)
from viz.components import Figure
from viz.theme import (
    PART_WORDS,
    PARTS,
    QUIET,
    drawn,
    fill,
    macs_text,
    percent,
)

GIGA = 2e9
"""From so many MACs on a chart counts in G."""
BUSY = 1.2
"""Third over first quartile of the same work's time: a machine on which it is more does other work too."""


def macs_by_part(rows: Sequence[tuple[str, MacCount]]) -> go.Figure:
    """One bar per model, stacked by part of the model; its name and total stand above its bar.

    Args:
        rows: What to call each model, and its count; the first stands on top.
    """
    divisor, unit = (1e9, "G") if max((count.total for _, count in rows), default=0) >= GIGA else (1e6, "M")
    traces: list[dict] = []
    for part in (f.name for f in fields(MacCount)):
        values = [getattr(count, part) for _, count in rows]
        if any(values):
            traces.append(
                {
                    "type": "bar",
                    "y": list(range(len(rows))),
                    "x": [value / divisor for value in values],
                    "customdata": [name for name, _ in rows],
                    "orientation": "h",
                    "width": 0.5,
                    "name": PART_WORDS[part],
                    "marker": fill(PARTS[part]),
                    "hovertemplate": f"{PART_WORDS[part]}: %{{x:.3~g}} {unit} MACs<extra>%{{customdata}}</extra>",
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
        xaxis={"title": {"text": f"{unit} MACs"}, "gridcolor": QUIET, "rangemode": "tozero"},
        yaxis={"range": [len(rows) - 0.6, -0.75], "showticklabels": False, "showgrid": False, "zeroline": False},
    )


def latency_figure(
    ms: Sequence[float], dense_ms: float, swing: Swing = (1.0, 1.0), measured: int | None = None, beside: str = ""
) -> Figure:
    """The latency of each setting: predicted, rough where the machine was busy meanwhile, or measured.

    Args:
        ms: Of each setting.
        dense_ms: Of the dense model.
        swing: How steady the machine was when what these rest on was measured.
        measured: Position of the one that was measured itself; None: none was.
        beside: What else is said of each, such as the device.
    """
    is_rough = [swing[1] / swing[0] > BUSY and index != measured for index in range(len(ms))]
    values, notes = [], []
    for index, (time, rough) in enumerate(zip(ms, is_rough, strict=True)):
        values.append(f"≈ {time:.2g} ms" if rough else f"{time:.1f} ms")
        if rough:
            notes.append(f"rough, {swing[0] * time:.2g} to {swing[1] * time:.2g} ms: the machine was busy{beside}")
            continue
        how = "" if measured is None else "measured; " if index == measured else "predicted; "
        dense = f"slower than dense here ({dense_ms:.1f} ms)" if time > dense_ms else f"dense {dense_ms:.1f} ms"
        notes.append(f"{how}{dense}{beside}")
    return Figure("Predicted latency" if measured is None else "Latency", values, notes, is_rough)


def device_text(timed: Latency | PathCosts | StagedCosts | LatencyTable | CostCurve) -> str:
    """On what it was timed: cpu, 2 threads, batch 1."""
    return f"{timed.device}, {timed.threads} thread{'s' * (timed.threads != 1)}, batch {timed.batch}"


def latency_text(latency: Latency) -> str:
    """Median and spread with all that one must know to repeat it."""
    own = latency.engine in {ENGINES[engine] for engine in ROUNDED}  # its name says how it computes
    precision = "" if own else f"{latency.dtype}, "
    return (
        f"{latency.median_ms:.1f} ms median, {latency.iqr_ms:.1f} ms from quartile to quartile, on "
        f"{device_text(latency)}, {precision}{latency.engine}, {latency.repeats} runs"
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
