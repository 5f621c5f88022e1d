"""Both methods' sliders on the budget page, live: what each setting costs, is predicted to take, and reaches."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.config import BUDGET_RANGE, KEEP_RANGE, ModelSpec
from core.evaluation.recorded import accuracy_at, is_recorded
from core.results import Recorded
from core.results.timings import CostCurve, LatencyTable
from pages.parts.shared import bound, links
from pages.parts.shared.recorded_rows import rows_of
from pages.parts.shared.sides import Side, write_side
from pages.parts.timing import predicting, scale
from pages.parts.timing.scale import Times
from pages.server import budgets, keeping, models
from viz.components import Slider
from viz.savings import BODY, MEASURING, SCRIPT, STYLE, Point, Track, cost_figures, keep_label
from viz.theme import percent, percent_text

KEEPS = KEEP_RANGE.values
COSTS = ("macs", "ms")
COMPONENT = st.components.v2.component("savings", html=BODY, css=STYLE, js=SCRIPT)


@dataclass(frozen=True)
class Method:
    """One method on the page: its model, its slider, and where that stands."""

    model: str
    track: Track
    value: float
    spec: ModelSpec
    label: str
    """Of the present setting."""
    settings: tuple[float, ...]
    """All values of the slider."""
    ms: tuple[float, ...] | None
    """Predicted for each; None where there is no prediction."""


def tokens_method(
    name: str,
    table: LatencyTable | CostCurve | None,
    missing: str = MEASURING,
    *,
    key: str = "keep",
    track: str = "Tokens",
    times: Times | None = None,
) -> Method:
    """Keep ratios of a model with selectors; `keep` in the URL.

    Args:
        name: The model.
        table: Of the device to predict for, or what the whole model takes there.
        missing: What is said in place of a prediction.
        key: In the URL.
        track: What the page calls the method.
        times: What the page's models take here; None: it predicts for another device.
    """
    value = bound.held(key, KEEP_RANGE.usual, links.nearest(KEEPS))
    specs = keeping.keep_specs(name, KEEPS)
    macs = keeping.keep_macs(name, KEEPS)
    predicted = predicting.predicted_keep(name, table, [(), *(spec.keep for spec in specs)])
    dense_ms, ms = (predicted[0], predicted[1:]) if predicted else (None, None)
    at = None if times is None else scale.measured_place(name, specs)
    if at is not None and times is not None:
        dense_ms = times.dense_ms
    rows = [row for row in rows_of(name) if row.setting]
    labels = [percent(keep) for keep in KEEPS]
    swing = times.swing(table) if times else (1.0, 1.0)
    figures = cost_figures(macs, _dense_macs(name), ms, dense_ms, missing, _accuracies(rows, macs), swing, at)
    slider = Slider(keep_label(len(specs[0].keep)), KEEPS[0], KEEP_RANGE.step, labels, KEEPS, "Keep ratio, %")
    made = Track(key, track, slider, figures, _points(labels, macs, ms, rows))
    now = KEEPS.index(value)
    return Method(name, made, value, specs[now], f"{track}, keep {labels[now]}", KEEPS, ms and tuple(ms))


def path_method(name: str, times: Times | None, missing: str = MEASURING) -> Method:
    """Budgets of a single-path model; `budget` in the URL, in percent.

    Args:
        name: The model.
        times: What the page's models take here; None: it predicts for another device, whose table has none of these.
        missing: What is said in place of a prediction.
    """
    steps, low = budgets.all_budgets(name, BUDGET_RANGE.step), budgets.lowest_share(name)
    shares = tuple(range(low, 101))
    value = bound.held("budget", max(low, BUDGET_RANGE.usual), links.nearest(shares))
    macs = [found.macs for found in steps]
    costs = None if times is None else times.costs
    ms = predicting.predicted_path(costs, steps)
    specs = [ModelSpec(name, budget=_dense_macs(name) * share / 100) for share in shares]
    at = None if times is None else scale.measured_place(name, specs)
    dense_ms = ms and (ms[-1] if at is None or times is None else times.dense_ms)
    swing = times.swing(costs) if times else (1.0, 1.0)
    rows = rows_of(name)
    labels = [percent_text(share) for share in shares]
    figures = cost_figures(macs, _dense_macs(name), ms, dense_ms, missing, _accuracies(rows, macs), swing, at)
    slider = Slider("Budget, % of the dense multiply-adds", low, BUDGET_RANGE.step, labels, shares, "Budget, %")
    track = Track("budget", "Single path", slider, figures, _points(labels, macs, ms, rows))
    return Method(
        name, track, value, specs[shares.index(value)], f"Single path, {percent_text(value)}", shares, ms and tuple(ms)
    )


def cost_axis() -> str:
    """What accuracy is drawn against, "macs" or "ms"; in the URL as `cost`."""
    return bound.held("cost", COSTS[0], links.one_of(COSTS))


def told(at: dict) -> None:
    """Hold what the sliders say, and the axis."""
    for key, value in at.items():
        bound.hold(key, value if key == "cost" else int(value) if key == "budget" else round(value, 2))


def show_links(methods: Sequence[Method]) -> None:
    """From each setting to the page that shows what it does to the network or to the photo."""
    with st.container(horizontal=True):
        for method in methods:
            if method.track.key == "budget":
                st.page_link(
                    "pages/architecture.py",
                    label=f"What each block becomes: {method.label}",
                    icon=":material/arrow_forward:",
                    query_params={"model": method.model, "budget": f"{method.value:g}"},
                    width="content",
                )
                side = Side(method.model, "budget", method.value)
            else:
                st.page_link(
                    "pages/tokens.py",
                    label=f"Which patches stay: {method.label}",
                    icon=":material/arrow_forward:",
                    query_params={"model": method.model, "keep": f"{method.value:g}"},
                    width="content",
                )
                side = Side(method.model, "keep", method.value)
            st.page_link(
                "pages/compare.py",
                label=f"On your own photos: {method.label}",
                icon=":material/arrow_forward:",
                query_params={"b": write_side(side), "view": "Many photos"},
                width="content",
            )


def _dense_macs(name: str) -> int:
    return models.loaded(ModelSpec(name)).dense_macs


def _accuracies(rows: list[Recorded], macs: list[int]) -> list[tuple[float | None, bool]]:
    return [(accuracy_at(rows, cost), is_recorded(rows, cost)) for cost in macs]


def _points(labels: list[str], macs: list[int], ms: list[float] | None, rows: list[Recorded]) -> list[Point]:
    times = ms or [None] * len(macs)
    return [
        Point(cost, time, accuracy_at(rows, cost), label) for label, cost, time in zip(labels, macs, times, strict=True)
    ]
