"""The budget scrubber's payload, and its JavaScript and style: all that the browser needs to follow while one drags."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.results import MIXERS, Architecture
from viz.architecture import architecture_sentence
from viz.theme import FFN, MARK, MIXER_INK, MIXER_LOOKS, MIXER_WORDS, macs_number, percent_text

SCRIPT = Path(__file__).with_name("scrubber.js").read_text(encoding="utf-8")
STYLE = Path(__file__).with_name("scrubber.css").read_text(encoding="utf-8")
BODY = '<div class="scrubber"></div>\n'
TICKS = 8
"""About as many labels as stand below the diagram."""


@dataclass(frozen=True)
class Figure:
    """One number above the network, at every step."""

    label: str
    values: Sequence[str]
    notes: Sequence[str]


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


@dataclass(frozen=True, eq=False)
class Beside:
    """Another architecture that stands beside the network, in place of the diagram."""

    title: str
    architecture: Architecture
    block_macs: Sequence[int]
    note: str


def scrubber_data(
    slider: Slider,
    architectures: Sequence[Architecture],
    block_macs: Sequence[Sequence[int]],
    figures: Sequence[Figure],
    titles: tuple[str, str],
    *,
    beside: Beside | None = None,
    playable: bool = False,
    light: bool = False,
) -> dict:
    """What the component draws, as JSON can hold it.

    Args:
        slider: One value per step.
        architectures: One per step, all of one model.
        block_macs: Multiply-adds of each block, per step.
        figures: Shown above the network.
        titles: Of the network and of the diagram of all steps.
        beside: Instead of the diagram.
        playable: With a button that plays the steps.
        light: Slider, figures and sentence alone.
    """
    count = len(architectures)
    if not len(slider.labels) == len(block_macs) == count:
        raise ValueError(f"{count} architectures, {len(slider.labels)} labels, {len(block_macs)} rows of costs")
    data = {
        "slider": {
            "label": slider.label,
            "min": slider.low,
            "max": slider.low + slider.step * (count - 1),
            "step": slider.step,
        },
        "labels": list(slider.labels),
        "ticks": _ticks(slider.marks),
        "axis": slider.axis,
        "figures": [{"label": f.label, "values": list(f.values), "notes": list(f.notes)} for f in figures],
        "sentences": [architecture_sentence(found) for found in architectures],
        "mixers": [[MIXERS.index(mixer) for mixer in found.mixers] for found in architectures],
        "hidden": [list(found.ffn_hidden) for found in architectures],
        "full": list(architectures[0].ffn_full),
        "costs": [[macs_number(cost) for cost in costs] for costs in block_macs],
        "looks": [
            {
                "word": MIXER_WORDS[m],
                "colour": MIXER_LOOKS[m].colour,
                "ink": MIXER_INK[m],
                "hatch": MIXER_LOOKS[m].hatch,
            }
            for m in MIXERS
        ],
        "ffn": FFN,
        "mark": MARK,
        "titles": {"network": titles[0], "phase": titles[1]},
        "beside": None if beside is None else _beside(beside),
        "playable": playable,
        "light": light,
    }
    return data | {"rev": hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]}


def _ticks(marks: Sequence[float]) -> list[dict]:
    """At most TICKS round numbers, each at the first step that reaches it."""
    span = marks[-1] - marks[0]
    gap = next(gap for gap in (size * 10**power for power in range(-3, 9) for size in (1, 2, 5)) if span <= gap * TICKS)
    rounds = [gap * n for n in range(math.ceil(marks[0] / gap - 1e-9), math.floor(marks[-1] / gap + 1e-9) + 1)]
    return [{"index": next(i for i, m in enumerate(marks) if m >= r - 1e-9), "text": f"{r:g}"} for r in rounds]


def _beside(beside: Beside) -> dict:
    found = beside.architecture
    return {
        "title": beside.title,
        "mixers": [MIXERS.index(mixer) for mixer in found.mixers],
        "shares": [left / full for left, full in zip(found.ffn_hidden, found.ffn_full, strict=True)],
        "costs": [macs_number(cost) for cost in beside.block_macs],
        "note": beside.note,
    }


def budget_figures(architectures: Sequence[Architecture], ms: Sequence[float] | None, device: str) -> list[Figure]:
    """Asked, achieved, last gate, predicted latency, at every budget.

    Args:
        architectures: By rising budget; the last is the dense network.
        ms: Predicted milliseconds of each; None while they are measured.
        device: On which, in words.
    """
    asked = Figure(
        "MACs asked",
        [macs_number(found.asked_macs) for found in architectures],
        [f"{percent_text(round(100 * f.asked_macs / f.dense_macs, 1))} of dense" for f in architectures],
    )
    achieved = Figure(
        "MACs achieved",
        [macs_number(found.macs) for found in architectures],
        [f"{100 * found.macs / found.dense_macs:.1f} % of dense" for found in architectures],
    )
    last = Figure(
        "Last gate closed",
        ["none" if found.step_macs is None else macs_number(found.step_macs) for found in architectures],
        [
            "this is the dense network" if found.step_macs is None else "the budget is missed by less"
            for found in architectures
        ],
    )
    if ms is None:
        return [
            asked,
            achieved,
            last,
            Figure("Predicted latency", ["…"] * len(architectures), ["being measured"] * len(architectures)),
        ]
    latency = Figure(
        "Predicted latency",
        [f"{time:.1f} ms" for time in ms],
        [f"dense {ms[-1]:.1f} ms · {device}"] * len(ms),
    )
    return [asked, achieved, last, latency]
