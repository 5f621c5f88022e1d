"""Mounting a component that moves by itself: what is sent stays the same while a person moves it."""

from collections.abc import Callable
from secrets import token_hex
from typing import Any

import streamlit as st


def mount(component: Callable[..., Any], key: str, data: dict, at: dict, told: Callable[[dict], None]) -> None:
    """Show a component whose script keeps its own state, reports it as `at`, and takes another only in a new turn.

    Args:
        component: From `st.components.v2.component`.
        key: Of this one on its page.
        data: Its payload, with `rev`; sent anew only where it differs.
        at: What it is to show.
        told: Called with what it shows when it is let go.
    """
    memory = st.session_state.setdefault("mounted", {})
    known, start, turn = memory.get(key, (None, None, ""))
    if key not in st.session_state or known != at:  # it is new, or something else than the component has moved it
        start, turn = at, token_hex(4)  # no number, which a tab would know from a session before
    memory[key] = (at, start, turn)

    def moved() -> None:
        said = dict(st.session_state[key]["at"])
        memory[key] = (said, start, turn)
        told(said)

    more = {"key": key, "at": start, "turn": turn, "rev": f"{data['rev']}-{turn}"}
    component(key=key, data=data | more, on_at_change=moved)
