"""What frames every page: the router guard, errors as one sentence, charts, latency on demand."""

import atexit
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

import viz
from core.config import ModelSpec
from core.errors import InputError
from pages.parts.shared import beside, bound, measured
from pages.parts.shared.sides import settings_of
from pages.server import hosted, locks, timings
from viz import history
from viz.cost import latency_text
from viz.theme import InLight

COMPARE = "pages/compare.py"
SHOWN = ("model", "method", "keep", "threshold", "budget")
"""Settings that say what a page shows of a model, for the page that follows."""
ROOM = Path(viz.__file__).parent / "room.css"
"""Keeps room for what comes late."""
RARELY = 50
"""Collections of young garbage to one of all; by Python's own 10, a tenth of the runs of a page would wait for one."""
SHEET_S = 0.25
"""Seconds that a browser on this machine takes to read it, the first time."""


def guard(path: str, *keys: str) -> None:
    """First line of each page, before anything is shown.

    With no router before it (a fresh server), go through app.py and come back. Coming from another page, bring the
    settings along: Streamlit ties a bound value to one page's widget, so they are handed to this page in its URL.

    Args:
        path: Of this page.
        keys: The settings of this page that other pages have too; what a link says comes first.
    """
    query = {key: st.query_params.get_all(key) for key in st.query_params}
    if "routed" not in st.session_state:
        st.session_state["came_for"] = (path, query)
        st.switch_page("app.py")
    before = st.session_state.get("on_page")
    st.session_state["on_page"], st.session_state["settings"] = path, keys
    handed, run = bound.settings(keys), get_script_run_ctx()
    if before == COMPARE:  # what B was set to there is this page's, as far as it has that
        handed |= {key: said for key, said in settings_of(bound.settings(("b",)).get("b", "")).items() if key in keys}
    handed |= query
    if before != path or run.is_history_navigation:
        bound.open_page(back=run.is_history_navigation)
    if run.is_history_navigation:  # what stood there, of which Streamlit drops what a widget of the page before has too
        handed = parse_qs(run.query_string)
        for key in keys if before != path else ():
            st.session_state.pop(key, None)
    elif before not in (None, path):
        st.session_state["came_from"] = before, bound.settings(SHOWN)
    if before not in (None, path) and handed.keys() - query.keys():
        try:
            st.switch_page(path, query_params=handed)
        except StreamlitAPIException:  # the widgets of the page before still hold a key; an empty run frees it
            st.rerun()
    _set_imports_aside()
    locks.activity()["ran_at"] = time.monotonic()
    st.html(ROOM)
    with st.container(key="history"):
        st.html(history.BODY, unsafe_allow_javascript=True)
    if "has_room" not in st.session_state:  # the browser loads what reads the sheet; then comes what needs the room
        st.session_state["has_room"] = True
        time.sleep(SHEET_S)
    hosted.show_load()
    beside.strip(path)


@cache  # once in the life of this process
def _set_imports_aside() -> None:
    """Collect no garbage among what has been imported: looking through it halts every page for half a second."""
    gc.freeze()
    gc.set_threshold(700, 10, RARELY)
    atexit.register(gc.unfreeze)  # some libraries complain at the end about what is still there


def settings_of_page() -> tuple[str, ...]:
    """Names of the settings that this page has in its URL, as it told `guard`."""
    return st.session_state.get("settings", ())


@contextmanager
def clear_errors() -> Iterator[None]:
    """Wrong input inside: show its one sentence and end this run; the controls above go on working."""
    try:
        yield
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


def chart(figure: Any, key: str, alt: str, **more: Any) -> None:
    """A figure of viz across the column, readable in both themes; in the dark one Streamlit's own labels are."""
    locks.activity()["ran_at"] = time.monotonic()
    inked = InLight(figure) if st.context.theme.type == "light" else figure
    st.plotly_chart(inked, key=key, alt=alt, config={"displayModeBar": False}, **more)


@st.fragment
def latency_panel(
    specs: dict[str, ModelSpec], image_id: str, slower: str = "Slower than dense here", *, stands_above: bool = False
) -> None:
    """Measure on demand, in a part of the page of its own: a line per model with device, threads, batch and spread.

    Args:
        specs: By what to call them; the first is what the others are held against.
        image_id: The photo.
        slower: What to say of one that takes longer than the first.
        stands_above: The page shows it elsewhere too, and is drawn again once it is measured.
    """
    if hosted.is_off(hosted.MEASURING):
        return
    key = (measured.PANEL, tuple(specs.values()), image_id)
    turns = st.session_state.setdefault("turns", {})
    done = turns.get(key, 0)
    if st.button("Measure again" if done else "Measure latency here", icon=":material/timer:"):
        turns[key] = done = st.session_state["presses"] = st.session_state.get("presses", 0) + 1
    if not done:
        return
    found = dict(zip(specs, timings.measured(tuple(specs.values()), image_id, done), strict=True))
    if measured.remember({specs[name]: took for name, took in found.items()}) and stands_above:
        st.rerun()
    first = next(iter(found.values()))
    for name, took in found.items():
        is_slower = took is not first and took.median_ms > first.median_ms
        st.markdown(f"**{name}:** {latency_text(took)}." + (f" :red-badge[{slower}]" if is_slower else ""))
