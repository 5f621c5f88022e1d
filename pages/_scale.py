"""Two models whose parts were measured one after the other, on one axis of milliseconds."""

from core.path_latency import path_ms
from pages import _parts

AGREE, BUSY = 0.02, 1.15
"""Measurements of the same that differ by less are alike; by more, something else was at work."""


def common_scale(tokens: str | None, path: str | None) -> float:
    """What to multiply the single-path model's times by, so that the dense network takes the same in both tables.

    The parts of the two are measured one after the other, and a machine is not always equally busy. 1 until both are.
    """
    if tokens is None or path is None or _parts.token_table(tokens) is None or _parts.path_costs(path) is None:
        return 1.0
    (dense,) = _parts.predicted_keep(tokens, _parts.token_table(tokens), [()])
    return dense / path_ms(_parts.path_costs(path), _parts.dense_path(path))


def scale_sentence(scale: float) -> str | None:
    """How far apart the two measurements of the dense network were; None where they agree."""
    if abs(scale - 1) < AGREE:
        return None
    said = (
        "The dense network's parts were measured with either model, one after the other, and took "
        f"{max(scale, 1 / scale):.2f} times as long once; the single-path model's times are scaled to agree."
    )
    if max(scale, 1 / scale) > BUSY:
        said += " The machine was busy with other work, so do not trust these predictions: press **Predict afresh**."
    return said
