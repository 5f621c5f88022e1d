"""A job beside the pages, watched: how far it is, with a way to end it."""

from collections.abc import Hashable, Mapping

import streamlit as st

from pages.server.jobs import Jobs

STEP_S = 1.0
"""Seconds between two looks."""


def watch(jobs: Jobs, shares: Mapping, key: Hashable, doing: str) -> None:
    """A part of the page that looks each second, and has the page run again once the job is over.

    Args:
        jobs: Among which it is.
        shares: By key how far each is, 0 to 1, and what is being done.
        key: Of the job, which is under way.
        doing: "Scoring" and the like.
    """
    st.fragment(_look, run_every=STEP_S)(jobs, shares, key, doing)


def _look(jobs: Jobs, shares: Mapping, key: Hashable, doing: str) -> None:
    found = jobs.standing(key)
    if found is None or not found.under_way:
        st.rerun()
    if found.state == "ending":
        st.markdown("Cancelling …")
        return
    share, now = shares.get(key, (0.0, "starting"))
    waiting = f"Waiting, {found.before} before it" if found.before else f"{doing}: {now}"
    st.progress(min(1.0, share), waiting)
    st.button("Cancel", key=f"cancel {doing.lower()}", icon=":material/close:", on_click=jobs.cancel, args=(key,))
