"""Two models whose parts were measured one after the other, on one axis of milliseconds."""

from core.config import ModelSpec
from core.latency_table import scaled_table
from core.path_latency import path_ms
from core.results import Architecture
from core.timings import LatencyTable
from pages import _parts, _shared

AGREE, BUSY = 0.02, 1.15
"""Measurements of the same that differ by less are alike; by more, something else was at work."""


def common_table(tokens: str | None, path: str | None) -> tuple[LatencyTable | None, float]:
    """The token model's table with times by which the dense network takes what the single-path model's parts add up to.

    The parts of the two are measured one after the other, and a machine is not always equally busy.

    Returns:
        The table, None until it is measured; and what its times were multiplied by, 1 until both are measured.
    """
    table = _parts.token_table(tokens) if tokens else None
    costs = _parts.path_costs(path) if path else None
    if table is None or costs is None:
        return table, 1.0
    (dense,) = _parts.predicted_keep(tokens, table, [()])
    scale = path_ms(costs, dense_path(path)) / dense
    return scaled_table(table, scale), scale


def dense_path(name: str) -> Architecture:
    """A single-path model with all of its gates open."""
    return _shared.architecture(name, _shared.loaded(ModelSpec(name)).dense_macs)


def scale_sentence(scale: float) -> str | None:
    """How far apart the two measurements of the dense network were; None where they agree."""
    if abs(scale - 1) < AGREE:
        return None
    said = (
        "The dense network's parts were measured with either model, one after the other, and took "
        f"{max(scale, 1 / scale):.2f} times as long once; the token model's times are scaled to agree."
    )
    if max(scale, 1 / scale) > BUSY:
        said += " The machine was busy with other work, so do not trust these predictions: press **Predict afresh**."
    return said
