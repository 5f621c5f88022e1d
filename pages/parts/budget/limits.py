"""A limit in milliseconds that sets the sliders, and another device's latency table to predict for."""

from collections.abc import Sequence

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.latency.limit import largest_within
from core.latency.table import check_table, parse_table
from core.results.timings import LatencyTable
from pages.parts.budget.savings import Method, told
from pages.parts.shared import links
from pages.server import models

MOST_MS = 100_000.0


def given_table() -> LatencyTable | None:
    """The table uploaded in this session."""
    return st.session_state.get("given_table")


def pick_limit(methods: Sequence[Method]) -> float | None:
    """A limit in milliseconds, in the URL as `limit`; the sliders follow when it changes."""
    first = links.bring("limit", None, links.number(0.1, MOST_MS))
    timed = [method for method in methods if method.ms]
    return st.number_input(
        "Limit for one photo, ms",
        0.1,
        MOST_MS,
        first,
        0.5,
        "%.1f",
        key="limit",
        bind="query-params",
        placeholder="None" if timed else "Being measured" if methods else "Nothing to set",
        disabled=not timed,
        on_change=_follow,
        args=(timed,),
        help="Sets each slider to the largest setting whose predicted latency keeps the limit.",
    )


def _follow(methods: Sequence[Method]) -> None:
    """Set the sliders to what the limit allows; one that allows nothing stays where it is."""
    limit = st.session_state["limit"]
    if limit is None:
        return
    for method in methods:
        at = largest_within(method.ms, limit)
        if at is not None:
            told({method.track.key: method.settings[at]})


def say_limit(methods: Sequence[Method], limit: float | None) -> None:
    """For each method whether the limit is kept, what would keep it, and where nothing does, what is the least."""
    for method in methods:
        if limit is None or not method.ms:
            continue
        labels, name = method.track.slider.labels, method.track.name
        now, at = method.settings.index(method.value), largest_within(method.ms, limit)
        if at is None:
            least = method.ms.index(min(method.ms))
            st.warning(
                f"{name}: {limit:g} ms cannot be reached; the least possible is {method.ms[least]:.1f} ms, at "
                f"{labels[least]}.",
                icon=":material/block:",
            )
        elif method.ms[now] > limit:
            st.warning(
                f"{name}: {labels[now]} is predicted to take {method.ms[now]:.1f} ms, over the limit of {limit:g} ms; "
                f"{labels[at]} would keep it.",
                icon=":material/timer_off:",
            )
        else:
            st.success(
                f"{name}: {labels[now]} keeps the limit of {limit:g} ms, with {method.ms[now]:.1f} ms predicted.",
                icon=":material/check:",
            )


def pick_table(name: str) -> None:
    """Upload of a latency table for the model with selectors; it stays in this session until it is removed."""
    st.file_uploader(
        "Latency table of another device, CSV",
        "csv",
        key=f"table{st.session_state.get('tables', 0)}",
        on_change=_read,
        args=(name,),
        max_upload_size=1,
        help="As `python -m core bench --table FILE` writes it on that device.",
    )
    if error := st.session_state.get("table_error"):
        st.error(error, icon=":material/error:")
    if given_table():
        st.button("Predict for this machine again", on_click=_forget, icon=":material/delete:")


def _read(name: str) -> None:
    file = st.session_state.get(f"table{st.session_state.get('tables', 0)}")
    st.session_state["table_error"] = None
    if file is None:
        st.session_state["given_table"] = None
        return
    try:
        table = parse_table(file.getvalue().decode("utf-8"), file.name)
        check_table(table, models.loaded(ModelSpec(name)).card.geometry)
        if table.batch != 1:
            raise InputError(f"{file.name} is of {table.batch} photos at once; measure a table with --batch 1.")
        st.session_state["given_table"] = table
    except UnicodeDecodeError:
        st.session_state["table_error"] = f"{file.name} is no text; give a CSV file as `bench --table` writes it."
    except InputError as said:
        st.session_state["table_error"] = str(said)


def _forget() -> None:
    """Remove the table and the uploader that holds its file."""
    st.session_state.update(given_table=None, table_error=None, tables=st.session_state.get("tables", 0) + 1)
