"""Models that were measured one after the other, on one axis of milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.config import ModelSpec
from core.latency.curve import scaled_curve
from core.latency.parts import path_ms, scaled_path
from core.latency.table import scaled_table
from core.results import Architecture
from core.results.timings import CostCurve, LatencyTable, PathCosts, StagedCosts, Swing
from pages.parts.shared import measured
from pages.parts.timing import part_times, predicting
from pages.server import budgets, models
from viz.cost import BUSY
from viz.theme import percent

AGREE = 0.02
"""Measurements of the same that differ by less are alike."""


@dataclass(frozen=True)
class Times:
    """What latency is predicted from, and that of the dense network by it."""

    table: LatencyTable | None = None
    """Of the model with selectors; None until it is measured."""
    curve: CostCurve | None = None
    """Of the joint model; likewise."""
    costs: PathCosts | StagedCosts | None = None
    """Of the single-path model; likewise."""
    dense_ms: float | None = None
    """None until one of the models is measured."""
    apart: float = 1.0
    """How many times as long the dense network took once as another time."""
    around: Swing = (1.0, 1.0)
    """The least and the most that the dense network took, as shares of what it is said to take."""

    def swing(self, of: LatencyTable | CostCurve | PathCosts | StagedCosts | None) -> Swing:
        """How far off a prediction from these parts may be: as far as their passes and the dense network swung."""
        low, high = (1.0, 1.0) if of is None else of.swing
        return min(low, self.around[0]), max(high, self.around[1])


def common_times(tokens: str | None, path: str | None, joint: str | None) -> Times:
    """Times by which the dense network takes equally long beside each of the models.

    Each measurement has the dense network in it, and a machine is not always equally busy; the first one counts:
    the single-path model's, or else the token model's.
    """
    costs, table, curve = map(part_times.parts_of, (path, tokens, joint))
    dense = {
        "path": path_ms(costs, dense_path(path)) if costs else None,
        "table": table_dense_ms(tokens, table),
        "curve": curve.dense_ms if curve else None,
    }
    known = [ms for ms in dense.values() if ms]
    if not known:
        return Times()
    return Times(
        table and scaled_table(table, known[0] / dense["table"]),
        curve and scaled_curve(curve, known[0] / dense["curve"]),
        costs,
        known[0],
        max(known) / min(known),
        (min(known) / known[0], max(known) / known[0]),
    )


def measured_times(times: Times, dense: str | None, tokens: str | None, path: str | None, joint: str | None) -> Times:
    """The same with what each model was measured to take in this session: its other settings are scaled to that."""
    for name, field, scaled in (
        (tokens, "table", scaled_table),
        (path, "costs", scaled_path),
        (joint, "curve", scaled_curve),
    ):
        parts, found = getattr(times, field), measured.latest(name)
        if parts is None or found is None:
            continue
        spec, latency = found
        if field == "costs":
            predicted = predicting.path_time(parts, name, spec.budget) if spec.budget else None
        else:
            predicted = predicting.predicted_keep(name, parts, [spec.keep])[0] if spec.keep else None
        if predicted:
            times = replace(times, **{field: scaled(parts, latency.median_ms / predicted)})
    found = measured.latest(dense)
    return replace(times, dense_ms=found[1].median_ms) if found else times


def measured_place(name: str, specs: Sequence[ModelSpec]) -> int | None:
    """Which of these settings of a model was measured last; None: none of them."""
    found = measured.latest(name)
    return next((place for place, spec in enumerate(specs) if found and spec == found[0]), None)


def table_dense_ms(tokens: str | None, table: LatencyTable | None) -> float | None:
    """The dense network by a model with selectors' table; None without either."""
    return predicting.predicted_keep(tokens, table, [()])[0] if tokens and table else None


def dense_path(name: str) -> Architecture:
    """A single-path model with all of its gates open."""
    return budgets.architecture(name, models.loaded(ModelSpec(name)).dense_macs)


def scale_sentence(apart: float) -> str | None:
    """How far apart the measurements of the dense network were; None where they agree."""
    if apart < 1 + AGREE:
        return None
    return (
        f"The dense network was measured beside each of these models, and took {percent(apart - 1)} longer one time "
        "than another; all predictions are put on the scale of the first time."
    )


def rough_sentence(times: Times) -> str | None:
    """What to do about rough predictions; None where there are none."""
    swings = [times.swing(of) for of in (times.table, times.curve, times.costs) if of is not None]
    if not any(high / low > BUSY for low, high in swings):
        return None
    return (
        "The machine was busy with other work, so predictions are rough: press **Predict again** once it is quiet, or "
        "measure below, which puts the measured time in place of the prediction."
    )
