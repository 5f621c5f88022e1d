"""The search on a page: what the present budget would have derived at each of its moments, to play or to scrub."""

import streamlit as st

from pages.parts.architecture import scrubber
from pages.parts.shared import bound, links, mac_counts
from pages.parts.shared.mounting import mount
from pages.server import budgets
from viz.components import Figure, Slider
from viz.scrubber import scrubber_data
from viz.theme import macs_number, percent_text


def show_search(name: str, choice: scrubber.Choice) -> None:
    """A scrubber over the moments of the search, playable; nothing where no history was kept."""
    history = budgets.gate_history(name)
    if history is None:
        return
    st.header("How the search got there")
    st.markdown(
        f"Gates move while the search learns. This is what a budget of {percent_text(choice.share)} would have derived "
        "from them at each moment."
    )
    moments = budgets.over_search(name, choice.budget)
    epochs = [float(epoch) for epoch in history.epochs]
    slider = Slider(
        "Moment of the search", 0, 1, [f"epoch {epoch:.2f}" for epoch in epochs], epochs, "Epochs of the search"
    )
    macs = Figure(
        "MACs achieved", [macs_number(found.macs) for found in moments], ["at the same budget"] * len(moments)
    )
    data = scrubber_data(
        slider,
        moments,
        mac_counts.block_macs(name, moments),
        [macs],
        ("The network at this moment", "The whole search"),
        playable=True,
    )
    last = len(moments) - 1
    moment = min(last, bound.held("moment", last, links.number(0, last)))
    mount(scrubber.MOUNT, "search", data, {"value": moment, "block": choice.block}, _told)


def _told(at: dict) -> None:
    bound.hold("moment", int(at["value"]))
    bound.hold("block", at["block"])
