"""What one saves, live: sliders whose numbers follow, and the frontier of accuracy against cost with "you are here"."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.results.timings import Swing
from viz.components import Figure, Slider, component_file, figures_data, revised, round_numbers, slider_data
from viz.cost import GIGA, latency_figure
from viz.theme import DENSE, MARK, PRUNED, macs_number, percent

SCRIPT, STYLE = (component_file("savings", kind) for kind in ("js", "css"))
BODY = '<div class="savings root"></div>\n'
LOOKS = {
    "Dense": (DENSE, "square"),
    "Tokens": (PRUNED, "circle"),
    "Single path": ("#B45309", "diamond"),
    "Joint": ("#7C3AED", "house"),
    "ToMe": ("#A3478A", "triangle"),
    "EViT": ("#009E73", "wedge"),
    "Random dropping": ("#7A7A00", "cross"),
}
"""Colour and symbol of each method's points."""
UNTRAINED = ", untrained"
"""What the name of a method ends in where nothing was trained for it; it looks like the method, but hollow."""
MEASURING = "being measured"
MORE = 0.04
"""Room around the points, as a share of their range."""
LEAST_ROOM = 0.003
"""The same where all are alike, as a share of the highest."""


@dataclass(frozen=True)
class Point:
    """One setting on the frontier."""

    macs: float
    ms: float | None
    """Predicted; None where it is not."""
    top1: float | None
    """Share of 1; None where nothing is recorded near."""
    label: str
    margin: float | None = None
    """Half of the 95 % interval of a recorded accuracy, share of 1."""


@dataclass(frozen=True)
class Track:
    """One slider, and where each of its settings stands."""

    key: str
    """In what the component reports."""
    name: str
    """Of the method, as in `LOOKS`."""
    slider: Slider
    figures: Sequence[Figure]
    points: Sequence[Point]
    """One per value of the slider."""


@dataclass(frozen=True)
class Series:
    """Recorded evaluations of one method."""

    name: str
    points: Sequence[Point]
    joined: bool = True
    """Whether a line joins them."""
    hollow: bool = False
    """Of a method that nothing was trained for: hollow marks, a dashed line."""


def savings_data(tracks: Sequence[Track], series: Sequence[Series], limit_ms: float | None = None) -> dict:
    """The payload of the component.

    Args:
        tracks: The sliders.
        series: Recorded points; none: no frontier is drawn.
        limit_ms: Drawn as a line where the cost is milliseconds.
    """
    points = [point for made in (*tracks, *series) for point in made.points]
    recorded = [point for made in series for point in made.points if point.top1 is not None]
    ends = [100 * (p.top1 + side * (p.margin or 0)) for p in recorded for side in (-1, 1)]
    each, unit = (1000, "G") if max((p.macs for p in points), default=0) >= GIGA else (1, "M")
    data = {
        "tracks": [
            {
                **slider_data(track.slider),
                "key": track.key,
                "name": track.name,
                "look": LOOKS[track.name],
                "figures": figures_data(track.figures),
                "points": [_point(point) for point in track.points],
            }
            for track in tracks
        ],
        "series": [
            {
                "name": made.name,
                "look": LOOKS[made.name.removesuffix(UNTRAINED)],
                "joined": made.joined,
                "hollow": made.hollow,
                "points": [_point(point) for point in made.points],
            }
            for made in series
        ],
        "axes": {
            "macs": _axis(f"{unit} MACs per photo", [p.macs / 1e6 for p in points], each),
            "ms": _axis("Predicted latency, ms", [p.ms for p in points if p.ms is not None]),
            "top1": _axis("Top-1 accuracy, %", ends),
        },
        "limit": limit_ms,
        "mark": MARK,
    }
    return revised(data)


def _point(point: Point) -> dict:
    top1 = None if point.top1 is None else 100 * point.top1
    margin = None if point.margin is None else 100 * point.margin
    said = None if top1 is None else f"{top1:.1f}"
    return {
        "macs": point.macs / 1e6,
        "ms": point.ms,
        "top1": top1,
        "said": said,
        "label": point.label,
        "margin": margin,
    }


def _axis(title: str, values: Sequence[float], each: float = 1) -> dict | None:
    """Range around the values, and round numbers in it, of units that are `each` of the values' own."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = max(MORE * (high - low), LEAST_ROOM * abs(high))
    low, high = low - room, high + room
    return {
        "title": title,
        "low": low,
        "high": high,
        "ticks": [{"at": each * at, "text": f"{at:g}"} for at in round_numbers(low / each, high / each)],
    }


def cost_figures(
    macs: Sequence[int],
    dense_macs: int,
    ms: Sequence[float] | None,
    dense_ms: float | None,
    missing: str,
    accuracy: Sequence[tuple[float | None, bool]],
    swing: Swing = (1.0, 1.0),
    measured: int | None = None,
) -> list[Figure]:
    """MACs, predicted latency and accuracy at every value of a slider.

    Args:
        macs: Of one photo.
        dense_macs: Of the dense model.
        ms: Predicted; None while it is measured, or where the device's table says nothing of it.
        dense_ms: Of the dense model, likewise.
        missing: Why there is no prediction, if there is none.
        accuracy: Top-1 share or None, and whether it was recorded for just this setting.
        swing: See `viz.cost.latency_figure`.
        measured: Likewise.
    """
    saved = [f"{percent(1 - m / dense_macs)} saved" if m < dense_macs else "nothing saved" for m in macs]
    figures = [Figure("MACs", [macs_number(m) for m in macs], saved)]
    if ms is None or dense_ms is None:
        waiting = "…" if missing == MEASURING else "unknown"
        figures.append(Figure("Predicted latency", [waiting] * len(macs), [missing] * len(macs)))
    else:
        figures.append(latency_figure(ms, dense_ms, swing, measured))
    return [*figures, accuracy_figure(accuracy)]


def keep_label(selectors: int) -> str:
    """What a slider of keep ratios is called: 0.7 of 0.7 of 0.7 is not 0.7."""
    return "Keep ratio of each selector" + f" ({selectors} in a row: they multiply)" * (selectors > 1)


def accuracy_figure(accuracy: Sequence[tuple[float | None, bool]], beside: str = "") -> Figure:
    """Accuracy at every value of a slider.

    Args:
        accuracy: Top-1 share or None, and whether it was recorded for just this setting.
        beside: What else is said of it, such as the dense model's.
    """
    said = {(True, True): "recorded", (True, False): "interpolated"}
    notes = [said.get((top1 is not None, exact), "nothing recorded near") + beside for top1, exact in accuracy]
    values = ["unknown" if top1 is None else f"{100 * top1:.1f} %" for top1, _ in accuracy]
    return Figure("Top-1 accuracy", values, notes)
