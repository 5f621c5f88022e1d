"""Predicted latency: the parts of a model are measured here once, after the page stands, and then added up."""

import time
from collections.abc import Callable
from functools import partial

import streamlit as st

from core.config import ModelSpec
from core.latency.curve import measure_curve
from core.latency.measure_table import measure_table
from core.latency.parts import measure_path
from core.models.load import read_model
from core.results.timings import CostCurve, LatencyTable, PathCosts, StagedCosts
from pages.server import locks, models, queues
from pages.server.giving_way import PATIENCE_S, GivingWay
from pages.server.jobs import Handle, Work

Parts = PathCosts | StagedCosts | LatencyTable | CostCurve
"""What latency is predicted from: single-path, tokens, joint."""
SHORT_TABLE = {"repeats": 3, "points": 9}
"""How a latency table is measured here: a short form, since somebody waits for it."""
LONG_S = 120
"""A measurement that has not ended by then is said to take long; a few seconds are usual."""


def missing(*names: str | None) -> tuple[str, ...]:
    """Those of these models whose parts are not measured yet; to be asked before anything predicted is shown."""
    return tuple(name for name in names if name and parts_of(name) is None)


def parts_of(name: str | None) -> Parts | None:
    """What a model takes here: its parts, a block by tokens, or the whole of a joint model; None until measured."""
    return None if name is None else queues.measurements().result(name)


def measure_after_paint(names: tuple[str, ...]) -> None:
    """Last line of a page that shows predicted latency: have measured what it lacked, and then show it again.

    Beside the page, which goes on answering; once for all sessions.

    Args:
        names: What `missing` said at the page's beginning; it may have come meanwhile.
    """
    jobs, who = queues.measurements(), queues.visitor()
    found = {name: jobs.ask(name, who, partial(_work, name)) for name in names}
    late = {name for name, standing in found.items() if standing.under_way and standing.age_s > LONG_S}
    for name, standing in found.items():
        if standing.failure:
            why = f"What {name} takes could not be measured here ({standing.failure})"
            _say(name, f"{why}, so no latency is predicted for it.", "Try again")
        elif name in late:
            _say(name, f"Measuring what {name} takes is not done yet: the machine is busy.", "Measure it again")
    if watched := tuple(name for name, standing in found.items() if not standing.failure):
        st.fragment(_watch, run_every=1.0)(watched, late)


def _say(name: str, sentence: str, again: str) -> None:
    """Why there is no number, and another try."""
    st.warning(sentence, icon=":material/timer_off:")
    st.button(again, on_click=forget_parts, args=(name,), key=f"again {name}")


def _watch(names: tuple[str, ...], late: set[str]) -> None:
    """Each second: has one been measured, has one failed, does one have to be measured anew, or take long?

    Args:
        names: Of the models.
        late: Those that the page already says take long.
    """
    for name in names:
        found = queues.measurements().standing(name)
        if found is None or not found.under_way or (found.age_s > LONG_S and name not in late):
            st.rerun()


def _work(name: str) -> Work:
    """What measures a model's parts, alone, giving way to who uses the pages; it is loaded here, where nobody waits."""
    measure, every_lock, activity = _measurement(name), locks.all_locks(), locks.activity()
    until = time.monotonic() + PATIENCE_S

    def work(handle: Handle) -> Parts:
        with locks.holding(every_lock):
            return measure(between=GivingWay(handle, every_lock, lambda: activity["ran_at"], until))

    return work


def _measurement(name: str) -> Callable[..., Parts]:
    """What measures the model's parts."""
    found = models.loaded(ModelSpec(name))
    if found.kind.selects and found.kind.carved:
        return partial(measure_curve, found.model, found.card.geometry)
    if found.kind.selects:
        return partial(measure_table, found.model, found.card.geometry, **SHORT_TABLE)
    module, card = read_model(name)
    return partial(measure_path, module.eval().backbone, card.geometry)


def forget_parts(*names: str | None) -> None:
    """Measure the parts of these models again: the machine may have been busy the first time."""
    queues.measurements().forget(lambda key: key in names)
