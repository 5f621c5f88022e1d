"""Two models whose parts were measured one after the other, on one axis of milliseconds."""

from collections.abc import Sequence

from core.config import ModelSpec
from core.latency_table import scaled_table
from core.path_latency import path_ms
from core.results import Architecture
from core.timings import CostCurve, LatencyTable
from pages import _parts, _predicted, _shared

AGREE, BUSY = 0.02, 1.15
"""Measurements of the same that differ by less are alike; by more, something else was at work."""


def common_table(tokens: str | None, path: str | None) -> tuple[LatencyTable | CostCurve | None, float]:
    """Times of a model with selectors by which the dense network takes what the single-path model's parts add up to.

    The parts of the two are measured one after the other, and a machine is not always equally busy.

    Returns:
        A table, or a joint model's curve, None until it is measured; and what its times were multiplied by, 1 until
        both models are measured.
    """
    table = _parts.token_table(tokens) if tokens else None
    costs = _parts.path_costs(path) if path else None
    if table is None or costs is None:
        return table, 1.0
    (dense,) = _predicted.predicted_keep(tokens, table, [()])
    scale = path_ms(costs, dense_path(path)) / dense
    return scaled_table(table, scale), scale


def dense_path(name: str) -> Architecture:
    """A single-path model with all of its gates open."""
    return _shared.architecture(name, _shared.loaded(ModelSpec(name)).dense_macs)


def scale_sentence(scales: Sequence[float]) -> str | None:
    """How far apart the measurements of the dense network were; None where they agree."""
    most = max(max(scale, 1 / scale) for scale in scales)
    if most < 1 + AGREE:
        return None
    said = (
        "The dense network was measured with each of these models, one after the other, and took "
        f"{most:.2f} times as long once; the times of models with selectors are scaled to agree."
    )
    if most > BUSY:
        said += " The machine was busy with other work, so do not trust these predictions: press **Predict afresh**."
    return said
