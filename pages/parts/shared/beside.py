"""What a person has asked for and goes on beside the pages: how far it is, and a way to end it, on every page."""

from pathlib import Path

import streamlit as st

from core.results.timings import ENGINES
from pages.parts.shared import fetching
from pages.server import models, queues

ENGINES_PAGE = "pages/budget.py"
"""Shows by itself what is made ready in an engine."""


def strip(page: str) -> None:
    """A line for each, above the page; nothing where nothing goes on."""
    if any(_under_way(page)):
        st.fragment(_lines, run_every=1.0)(page)


def _under_way(page: str) -> tuple[list, list]:
    """Downloads by name and models in engines by spec and engine, of this session."""
    jobs, who = (queues.downloads(), queues.engines()), queues.visitor()
    downloads, engines = (
        [key for key in each.asked_by(who) if (found := each.standing(key)) and found.under_way] for each in jobs
    )
    return downloads, [] if page == ENGINES_PAGE else engines


def _lines(page: str) -> None:
    """Each second."""
    downloads, engines = _under_way(page)
    if not downloads and not engines:
        st.rerun()
    entries = {entry.name: entry for entry in models.offered()}
    for name in downloads:
        with st.container(horizontal=True, vertical_alignment="center", key=f"beside {name}"):
            st.markdown(f"**{name}**", width="content")
            fetching.progress(entries[name], f"cancel {name}")
    if engines:
        with st.container(horizontal=True, vertical_alignment="center", key="beside engines"):
            names = ", ".join(dict.fromkeys(Path(spec.name).name for spec, _ in engines))
            st.markdown(f"Making ready in {ENGINES[engines[0][1]]}, for the Budget page: {names}", width="content")
            st.button("Cancel", key="cancel beside", icon=":material/close:", on_click=_cancel, args=(engines,))


def _cancel(keys: list) -> None:
    for key in keys:
        queues.engines().cancel(key)
