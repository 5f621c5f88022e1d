"""One at a time: who computes on this server, and when pages last ran."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.latency import measure as latency
from pages.server.line import Line


def _waiting(before: int) -> AbstractContextManager:
    """What a page shows while it waits for its turn; nothing in the first half second, nor where no page waits."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return nullcontext()
    return st.spinner(f"This server is busy: {before} before you …")


@st.cache_resource(max_entries=1, show_spinner=False)
def inference_lock() -> Line:
    """One inference at a time in this process: two at once on two cores are slower than one after the other.

    No lock per model is needed for the answers' sake: a forward pass leaves nothing on a model, and what hangs hooks on
    one, attribution, works on a copy. A measurement holds it too, so that nobody else is timed with it.
    """
    return Line(_waiting)


@st.cache_resource(max_entries=1, show_spinner=False)
def attribution_lock() -> Line:
    """One attribution at a time, beside the inferences: these wait for nobody's seconds of gradients."""
    return Line(_waiting)


@st.cache_resource(max_entries=1, show_spinner=False)
def engine_lock() -> Line:
    """One model is made ready in another engine at a time; only measurements wait for it."""
    return Line(_waiting)


def all_locks() -> tuple[AbstractContextManager, ...]:
    """What a measurement holds, in the order in which they are taken."""
    return engine_lock(), latency.QUIET, attribution_lock(), inference_lock()


@contextmanager
def holding(locks: Sequence[AbstractContextManager]) -> Iterator[None]:
    """For `with`: all of these, taken in their order."""
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        yield


@contextmanager
def alone() -> Iterator[None]:
    """For `with`: no inference, attribution or compiler of others meanwhile. Load models before, never inside."""
    with holding(all_locks()):
        yield


@st.cache_resource(max_entries=1, show_spinner=False)
def activity() -> dict[str, float]:
    """`ran_at`: when a page last began or drew a chart for anybody, by `time.monotonic`."""
    return {"ran_at": 0.0}
