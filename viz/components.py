"""What our components share: their files, a slider and numbers that follow it, round numbers on an axis."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files.json_text import json_text

TICKS = 8
"""Round numbers on an axis at most, but for one."""


def component_file(name: str, kind: str) -> str:
    """The text of a component's script or style, behind what all of them share.

    Args:
        name: Of the component.
        kind: "js" or "css".
    """
    folder = Path(__file__).parent
    return "\n".join((folder / f"{part}.{kind}").read_text(encoding="utf-8") for part in ("dom", name))


@dataclass(frozen=True)
class Figure:
    """One number above the network, at every step."""

    label: str
    values: Sequence[str]
    notes: Sequence[str]
    rough: Sequence[bool] = ()
    """Whether a value is rough, and so greyed; none: none is."""


@dataclass(frozen=True)
class Slider:
    """The slider: its values are `low`, `low + step`, ..."""

    label: str
    low: float
    step: float
    labels: Sequence[str]
    """What each value is called, with its unit."""
    marks: Sequence[float]
    """Where each value stands on the axis, rising."""
    axis: str
    """What the axis shows, with its unit."""


def slider_data(slider: Slider) -> dict:
    """A slider as the scripts take it."""
    high = slider.low + slider.step * (len(slider.labels) - 1)
    return {
        "slider": {"label": slider.label, "min": slider.low, "max": high, "step": slider.step},
        "labels": list(slider.labels),
    }


def figures_data(figures: Sequence[Figure]) -> list[dict]:
    """Figures as the scripts take them."""
    return [
        {"label": f.label, "values": list(f.values), "notes": list(f.notes), "rough": list(f.rough)} for f in figures
    ]


def round_numbers(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, not many more than TICKS."""
    sizes = (size * 10.0**power for power in range(-6, 12) for size in (1, 2, 5))
    gap = next(gap for gap in sizes if high - low <= gap * TICKS)
    return [gap * n for n in range(math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9) + 1)]


def revised(data: dict) -> dict:
    """The payload with `rev`, which names its content: the component echoes it once it is drawn."""
    return data | {"rev": hashlib.sha256(json_text(data).encode()).hexdigest()[:12]}
