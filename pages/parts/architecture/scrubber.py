"""The budget scrubber on a page: a component whose budget and block are held in the URL."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import streamlit as st

from core.config import BUDGET_RANGE
from core.evaluation.recorded import accuracy_at, is_recorded
from core.results import Architecture
from core.results.timings import PathCosts, StagedCosts
from pages.parts.shared import bound, links, mac_counts, model_facts
from pages.parts.shared.mounting import mount
from pages.parts.shared.recorded_rows import rows_of
from pages.parts.timing import part_times, predicting
from pages.server import budgets, drawings
from viz.components import Figure, Slider
from viz.cost import device_text
from viz.savings import accuracy_figure
from viz.scrubber import BODY, SCRIPT, STYLE, Beside, budget_figures, scrubber_data
from viz.theme import percent_text

STEP = 0.5
"""Of the slider, in percent of the dense multiply-adds."""
LABEL = "Budget, % of the dense multiply-adds"
MOUNT = st.components.v2.component("scrubber", html=BODY, css=STYLE, js=SCRIPT)


class Choice(NamedTuple):
    """What the scrubber is set to."""

    share: float
    """Percent of the dense multiply-adds."""
    budget: float
    """The same in MACs."""
    block: int
    """Counted from 0."""
    found: Architecture
    """What this budget derives."""


def scrub_budget(name: str, *, beside: Beside | None = None) -> Choice:
    """The scrubber of a single-path model; `budget` and `block` in the URL.

    Args:
        name: The model.
        beside: A published architecture in place of the diagram of all budgets.
    """
    low, steps = budgets.lowest_share(name), budgets.all_budgets(name, STEP)
    depth = len(steps[0].mixers)
    share = bound.held("budget", max(low, BUDGET_RANGE.usual), _snapped(low))
    block = min(depth - 1, bound.held("block", 0, links.number(0, depth - 1)))
    costs, dense = part_times.parts_of(name), model_facts.dense_of(name)
    other = beside and (beside.title, beside.note, tuple(beside.block_macs), *_layers(beside.architecture))
    drawing = partial(_payload, name, steps, costs, dense, beside)
    data = drawings.drawn_once("scrubber", (name, costs, dense, other), drawing)
    mount(MOUNT, "scrubber", data, {"value": share, "block": block}, _told)
    return Choice(share, steps[0].dense_macs * share / 100, block, steps[round((share - low) / STEP)])


def _payload(
    name: str,
    steps: Sequence[Architecture],
    costs: PathCosts | StagedCosts | None,
    dense: str | None,
    beside: Beside | None,
) -> dict:
    """What the component draws."""
    low = budgets.lowest_share(name)
    device, ms = "" if costs is None else device_text(costs), predicting.predicted_path(costs, steps)
    shares = [low + STEP * i for i in range(len(steps))]
    slider = Slider(LABEL, low, STEP, [percent_text(s) for s in shares], shares, LABEL)
    return scrubber_data(
        slider,
        steps,
        mac_counts.block_macs(name, steps),
        budget_figures(steps, ms, device, _accuracy(name, steps, dense), (1.0, 1.0) if costs is None else costs.swing),
        ("The network at this budget", "All budgets at once"),
        beside=beside,
    )


def _layers(architecture: Architecture) -> tuple:
    """All that is drawn of it."""
    return architecture.mixers, architecture.ffn_hidden, architecture.ffn_full


def _accuracy(name: str, steps: Sequence[Architecture], dense: str | None) -> Figure:
    """Accuracy at each budget, from what was recorded, and that of the dense model."""
    rows = rows_of(name)
    whole = next((row.top1 for row in rows_of(dense) if not row.setting), None) if dense else None
    found = [(accuracy_at(rows, step.macs), is_recorded(rows, step.macs)) for step in steps]
    return accuracy_figure(found, "" if whole is None else f" · dense {100 * whole:.1f} %")


def _told(at: dict) -> None:
    """Hold what the component says; a whole percent without a point, as links have it."""
    bound.hold("budget", _whole(at["value"]))
    bound.hold("block", at["block"])


def _snapped(low: float) -> Callable[[str], float | None]:
    """For `bound.held`: the slider's value nearest to a percentage."""
    number = links.number(float(low), 100.0)

    def fits(text: str) -> float | None:
        value = number(text)
        return None if value is None else _whole(round(value / STEP) * STEP)

    return fits


def _whole(value: float) -> float:
    """60 for 60.0."""
    return int(value) if value == int(value) else value
