"""The search on a page: what the present budget would have derived at each of its moments, to play or to scrub."""

import streamlit as st

from pages import _costs, _held, _scrubber, _shared, _url
from pages._mounted import mount
from viz.components import Figure, Slider
from viz.scrubber import scrubber_data
from viz.theme import macs_number, percent_text


def show_search(name: str, choice: _scrubber.Choice) -> None:
    """A scrubber over the moments of the search, playable; nothing where no history was kept."""
    history = _shared.gate_history(name)
    if history is None:
        return
    st.header("How the search got there")
    st.markdown(
        f"Gates move while the search learns. This is what a budget of {percent_text(choice.share)} would have derived "
        "from them at each moment."
    )
    moments = _shared.over_search(name, choice.budget)
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
        _costs.block_macs(name, moments),
        [macs],
        ("The network at this moment", "The whole search"),
        playable=True,
    )
    last = len(moments) - 1
    moment = min(last, _held.held("moment", last, _url.number(0, last)))
    mount(_scrubber.MOUNT, "search", data, {"value": moment, "block": choice.block}, _told)


def _told(at: dict) -> None:
    _held.hold("moment", int(at["value"]))
    _held.hold("block", at["block"])
