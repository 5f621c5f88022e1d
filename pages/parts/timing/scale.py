"""Models that were measured one after the other, on one axis of milliseconds."""

from dataclasses import dataclass

from core.config import ModelSpec
from core.latency.curve import scaled_curve
from core.latency.parts import path_ms
from core.latency.table import scaled_table
from core.results import Architecture
from core.results.timings import CostCurve, LatencyTable
from pages.parts.timing import part_times, predicting
from pages.server import budgets, models

AGREE, BUSY = 0.02, 1.15
"""Measurements of the same that differ by less are alike; by more, something else was at work."""


@dataclass(frozen=True)
class Times:
    """What latency is predicted from, and that of the dense network by it."""

    table: LatencyTable | None = None
    """Of the model with selectors; None until it is measured."""
    curve: CostCurve | None = None
    """Of the joint model; likewise."""
    dense_ms: float | None = None
    """None until one of the models is measured."""
    apart: float = 1.0
    """How many times as long the dense network took once as another time."""


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
        known[0],
        max(known) / min(known),
    )


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
    said = (
        "The dense network was measured with each of these models, one after the other, and took "
        f"{apart:.2f} times as long once; the times of models with selectors are scaled to agree."
    )
    if apart > BUSY:
        said += " The machine was busy with other work, so do not trust these predictions: press **Predict again**."
    return said
