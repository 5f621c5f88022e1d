"""From a limit in milliseconds to the largest setting whose predicted latency keeps it."""

from collections.abc import Sequence


def largest_within(predicted_ms: Sequence[float], limit_ms: float) -> int | None:
    """Position of the last setting that fits; None if none does.

    Args:
        predicted_ms: Of settings from small to large.
        limit_ms: For one pass.
    """
    fitting = [index for index, ms in enumerate(predicted_ms) if ms <= limit_ms]
    return fitting[-1] if fitting else None
