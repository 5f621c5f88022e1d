"""The hosted mode, for a server that strangers use: what is switched off there, each with a sentence that says why.

`PRUNESCOPE_HOSTED=1` switches it on. Work that waits in a queue stays: scoring gates, comparing methods.
"""

import os

import streamlit as st

from core.photos.zip import MAX_PHOTOS, MAX_TOTAL_MB
from pages.server import locks, queues

WEIGHTS = "This server is shared, so it reads no weights files; run Prunescope on your own machine to open yours."
DOWNLOADS = "This server is shared, so it downloads nothing; run Prunescope on your own machine to use this model."
MEASURING = (
    "This server is shared, so it measures nothing on request: all others would have to wait. Run Prunescope on your "
    "own machine to measure there."
)
HOSTED_PHOTOS, HOSTED_TOTAL_MB = 40, 20
"""Of the many photos that one session holds in memory."""


def is_hosted() -> bool:
    """Whether strangers use this server."""
    return os.environ.get("PRUNESCOPE_HOSTED", "0") not in ("", "0")


def is_off(sentence: str) -> bool:
    """Whether what the sentence is about is switched off here; the sentence is shown then."""
    if is_hosted():
        st.info(sentence, icon=":material/lock:")
    return is_hosted()


def photo_limits() -> tuple[int, int]:
    """Photos that a session may hold, and their megabytes together."""
    return (HOSTED_PHOTOS, HOSTED_TOTAL_MB) if is_hosted() else (MAX_PHOTOS, MAX_TOTAL_MB)


def show_load() -> None:
    """How busy a shared server is, as this page finds it."""
    if not is_hosted():
        return
    turns, jobs = len(locks.inference_lock()), sum(each.under_way for each in queues.all_jobs())
    st.caption(f"A shared server. Computing or waiting for a turn: {turns}; longer jobs, running or queued: {jobs}.")
