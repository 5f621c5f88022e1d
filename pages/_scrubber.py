"""The budget scrubber on a page: a component whose budget and block are held in the URL."""

from collections.abc import Callable
from typing import NamedTuple

import streamlit as st

from core.results import Architecture
from pages import _shared, _url
from viz.cost import device_text
from viz.scrubber import BODY, SCRIPT, STYLE, Beside, Slider, budget_figures, scrubber_data
from viz.theme import percent_text

STEP = 0.5
"""Of the slider, in percent of the dense multiply-adds."""
USUAL = 60
LABEL = "Budget, % of the dense multiply-adds"
_MOUNT = st.components.v2.component("scrubber", html=BODY, css=STYLE, js=SCRIPT)


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


def scrub_budget(name: str, *, light: bool = False, beside: Beside | None = None) -> Choice:
    """The scrubber of a single-path model; `budget` and `block` in the URL.

    Args:
        name: The model.
        light: Slider and figures alone.
        beside: A published architecture in place of the diagram of all budgets.
    """
    low, steps = _shared.lowest_share(name), _shared.all_budgets(name, STEP)
    depth = len(steps[0].mixers)
    share = _url.held("budget", max(low, USUAL), _snapped(low))
    block = min(depth - 1, _url.held("block", 0, _url.number(0, depth - 1)))
    known = _shared.path_costs(name)
    shares = [low + STEP * i for i in range(len(steps))]
    slider = Slider(LABEL, low, STEP, [percent_text(s) for s in shares], shares, LABEL)
    data = scrubber_data(
        slider,
        steps,
        [_shared.block_macs(name, found) for found in steps],
        budget_figures(steps, _shared.predicted_path(name, STEP), "" if known is None else device_text(known)),
        ("The network at this budget", "All budgets at once"),
        beside=beside,
        light=light,
    )
    mount("scrubber", data, share, block, _told)
    return Choice(share, steps[0].dense_macs * share / 100, block, steps[round((share - low) / STEP)])


def mount(key: str, data: dict, value: float, block: int, told: Callable[[float, int], None]) -> None:
    """Show the component. Its payload stays the same while a person moves it, so that it is sent once.

    Args:
        key: Of the component on its page.
        data: From `viz.scrubber.scrubber_data`.
        value: What the slider is to show.
        block: The block that is selected, from 0.
        told: Called with value and block when the component is let go.
    """
    memory = st.session_state.setdefault("scrubbers", {})
    known, at, turn = memory.get(key, (None, None, 0))
    if key not in st.session_state or known != (value, block):  # it is new, or something else than it has moved it
        at, turn = (value, block), turn + 1
    memory[key] = ((value, block), at, turn)

    def moved() -> None:
        said = st.session_state[key]["at"]
        memory[key] = ((said["value"], said["block"]), at, turn)
        told(said["value"], said["block"])

    start = {"at": {"value": at[0], "block": at[1]}, "turn": turn, "rev": f"{data['rev']}-{turn}"}
    _MOUNT(key=key, data=data | start, on_at_change=moved)


def _told(value: float, block: int) -> None:
    """Hold what the component says; a whole percent without a point, as links have it."""
    _url.hold("budget", _whole(value))
    _url.hold("block", block)


def _snapped(low: float) -> Callable[[str], float | None]:
    """For `held`: the slider's value nearest to a percentage."""
    number = _url.number(float(low), 100.0)

    def fits(text: str) -> float | None:
        value = number(text)
        return None if value is None else _whole(round(value / STEP) * STEP)

    return fits


def _whole(value: float) -> float:
    """60 for 60.0."""
    return int(value) if value == int(value) else value
