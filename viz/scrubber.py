"""The budget scrubber's payload, and its JavaScript and style: all that the browser needs to follow while one drags."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.results import MIXERS, Architecture
from core.results.timings import Swing
from viz.architecture import architecture_sentence
from viz.components import Figure, Slider, component_file, figures_data, revised, round_numbers, slider_data
from viz.cost import latency_figure
from viz.theme import FFN, MARK, MIXER_INK, MIXER_LOOKS, MIXER_WORDS, macs_number, percent_text

SCRIPT, STYLE = (component_file("scrubber", kind) for kind in ("js", "css"))
BODY = '<div class="scrubber root"></div>\n'


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
    """
    count = len(architectures)
    if not len(slider.labels) == len(block_macs) == count:
        raise ValueError(f"{count} architectures, {len(slider.labels)} labels, {len(block_macs)} rows of costs")
    data = {
        **slider_data(slider),
        "ticks": [
            {"index": next(i for i, m in enumerate(slider.marks) if m >= tick - 1e-9), "text": f"{tick:g}"}
            for tick in round_numbers(slider.marks[0], slider.marks[-1])
        ],
        "axis": slider.axis,
        "figures": figures_data(figures),
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
    }
    return revised(data)


def _beside(beside: Beside) -> dict:
    found = beside.architecture
    return {
        "title": beside.title,
        "mixers": [MIXERS.index(mixer) for mixer in found.mixers],
        "shares": [left / full for left, full in zip(found.ffn_hidden, found.ffn_full, strict=True)],
        "costs": [macs_number(cost) for cost in beside.block_macs],
        "note": beside.note,
    }


def budget_figures(
    architectures: Sequence[Architecture],
    ms: Sequence[float] | None,
    device: str,
    accuracy: Figure,
    swing: Swing = (1.0, 1.0),
) -> list[Figure]:
    """Asked, achieved, accuracy, predicted latency, at every budget.

    Args:
        architectures: By rising budget; the last is the dense network.
        ms: Predicted milliseconds of each; None while they are measured.
        device: On which, in words.
        accuracy: See `viz.savings.accuracy_figure`.
        swing: See `viz.cost.latency_figure`.
    """
    asked = Figure(
        "MACs asked",
        [macs_number(found.asked_macs) for found in architectures],
        [f"{percent_text(round(100 * f.asked_macs / f.dense_macs, 1))} of dense" for f in architectures],
    )
    achieved = Figure(
        "MACs achieved",
        [macs_number(found.macs) for found in architectures],
        [_achieved(found) for found in architectures],
    )
    if ms is None:
        return [
            asked,
            achieved,
            accuracy,
            Figure("Predicted latency", ["…"] * len(architectures), ["being measured"] * len(architectures)),
        ]
    return [asked, achieved, accuracy, latency_figure(ms, ms[-1], swing, beside=f" · {device}")]


def _achieved(found: Architecture) -> str:
    """How much of dense, and how close to the budget gates can come."""
    if found.step_macs is None:
        return "this is the dense network"
    share, step = 100 * found.macs / found.dense_macs, macs_number(found.step_macs)
    return f"{share:.1f} % of dense; next gate: {step} MACs"
