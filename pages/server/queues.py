"""What goes on beside the pages, by kind; and who asked for it."""

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import streamlit as st

from core.latency.engines import Runner
from core.results.method_table import MethodTable
from core.results.timings import CostCurve, LatencyTable, PathCosts, StagedCosts
from pages.server.jobs import Jobs


@st.cache_resource(max_entries=1, show_spinner=False)
def measurements() -> Jobs[PathCosts | StagedCosts | LatencyTable | CostCurve]:
    """By model, what its parts take here, one measured after the other; see `part_times`."""
    return Jobs()


@st.cache_resource(max_entries=1, show_spinner=False)
def engines() -> Jobs[Runner]:
    """By spec and engine, a model made ready in it for one photo at a time; see `engines`."""
    return Jobs(most=12)


@st.cache_resource(max_entries=1, show_spinner=False)
def downloads() -> Jobs[None]:
    """By name, the weights that are being fetched; see `fetching`."""
    return Jobs(at_once=4)


@st.cache_resource(max_entries=1, show_spinner=False)
def scorings() -> Jobs[str]:
    """By dense model and photos, the file of the scored model; see `scoring_job`."""
    return Jobs(most=50)


@st.cache_resource(max_entries=1, show_spinner=False)
def scoring_shares() -> dict[Any, tuple[float, str]]:
    """How far each of them is, 0 to 1, and what is being done."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def comparisons() -> Jobs[tuple[MethodTable, str]]:
    """By dense model and photos, how its methods compare, and what gates were scored on; see `comparing`."""
    return Jobs(most=50)


@st.cache_resource(max_entries=1, show_spinner=False)
def comparing_shares() -> dict[Any, tuple[float, str]]:
    """How far each of them is, as `scoring_shares`."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def own_folder() -> Path:
    """Where this server keeps what it scored and what was uploaded to it, until it ends."""
    folder = TemporaryDirectory(prefix="prunescope-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def all_jobs() -> tuple[Jobs, ...]:
    """Of every kind."""
    return measurements(), engines(), downloads(), scorings(), comparisons()


def _left(who: str) -> None:
    """A session has ended: what it alone asked for ends too."""
    for jobs in all_jobs():
        jobs.leave(who)


@st.cache_resource(max_entries=64, show_spinner=False, scope="session", on_release=_left)
def present(who: str) -> str:
    """A session that is there; dropped when it ends."""
    return who


def visitor() -> str:
    """A name of this session, under which it asks for what goes on beside the pages."""
    return present(st.session_state.setdefault("visitor", uuid4().hex))
