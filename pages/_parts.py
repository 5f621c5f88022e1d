"""Predicted latency: the parts of a model are measured here once, after the page stands, and then added up."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from threading import Thread, current_thread

import streamlit as st

from core.checkpoints import read_model
from core.config import ModelSpec
from core.curve_latency import measure_curve
from core.latency import QUIET
from core.path_latency import measure_path
from core.table_bench import measure_table
from core.timings import CostCurve, LatencyTable, PathCosts, StagedCosts
from pages import _shared

Parts = PathCosts | StagedCosts | LatencyTable | CostCurve
"""What latency is predicted from: single-path, tokens, joint."""
QUIET_S, PATIENCE_S = 0.4, 30.0
"""So long before a timing no page has begun or drawn a chart, lest either slow the other; the most waited in all."""
SHORT_TABLE = {"repeats": 3, "points": 9}
"""How a latency table is measured here: a short form, since somebody waits for it."""


def missing(*names: str | None) -> tuple[str, ...]:
    """Those of these models whose parts are not measured yet; to be asked before anything predicted is shown."""
    return tuple(name for name in names if name and name not in _shared.measured_parts())


def measure_after_paint(names: tuple[str, ...]) -> None:
    """Last line of a page that shows predicted latency: have measured what it lacked, and then show it again.

    In a thread, so that the page goes on answering; one for all sessions.

    Args:
        names: What `missing` said at the page's beginning; it may have come meanwhile.
    """
    failed = [name for name in missing(*names) if name in _shared.failed_parts()]
    for name in failed:
        why = f"What {name} takes could not be measured here ({_shared.failed_parts()[name]})"
        st.warning(f"{why}, so no latency is predicted for it.", icon=":material/timer_off:")
        st.button("Try again", on_click=_shared.failed_parts().pop, args=(name, None), key=f"again {name}")
    waiting = [name for name in missing(*names) if name not in failed]
    for name in waiting:
        if name not in _shared.measurements():
            locks = (_shared.measuring_lock(), QUIET, _shared.attribution_lock(), _shared.inference_lock())
            kept = (_shared.measured_parts(), _shared.failed_parts(), _shared.measurements(), _shared.activity())
            work = (name, _measurement(name), locks, *kept)
            _shared.measurements()[name] = Thread(target=_measure, args=work, daemon=True)
            _shared.measurements()[name].start()
    if len(failed) < len(names):
        st.fragment(_watch, run_every=1.0)(tuple(name for name in names if name not in failed))


def _watch(names: tuple[str, ...]) -> None:
    """Each second: are they measured, or has one failed?"""
    if not missing(*names) or any(name in _shared.failed_parts() for name in names):
        st.rerun()


def _measure(
    name: str,
    measure: Callable[..., Parts],
    locks: tuple,
    measured: dict[str, Parts],
    failed: dict[str, str],
    running: dict[str, Thread],
    activity: dict[str, float],
) -> None:
    """In its own thread, alone: measure one model's parts; whoever uses the pages passes between two timings."""
    patience = PATIENCE_S

    def give_way() -> None:
        nonlocal patience  # of all timings together
        begun = time.monotonic()
        if begun >= min(activity["ran_at"] + QUIET_S, begun + patience):  # the usual: nothing stirs between two timings
            return
        for lock in reversed(locks[1:]):
            lock.release()
        while time.monotonic() < min(activity["ran_at"] + QUIET_S, begun + patience):
            time.sleep(0.02)
        patience -= time.monotonic() - begun
        for lock in locks[1:]:
            lock.acquire()

    try:
        with ExitStack() as held:
            for lock in locks:  # the first: one measurement after the other, or each would slow the others
                held.enter_context(lock)
            kept, found = measured, measure(between=give_way)
    except Exception as error:  # a thread that dies silently would be waited for forever
        kept, found = failed, str(error) or type(error).__name__
    if running.get(name) is current_thread():  # else the model's file has changed since
        kept[name] = found
        del running[name]


def _measurement(name: str) -> Callable[..., Parts]:
    """What measures the model's parts; it is loaded here, before anybody waits."""
    found = _shared.loaded(ModelSpec(name))
    if found.method == "tokens":
        return partial(measure_table, found.model, found.card.geometry, **SHORT_TABLE)
    if found.method == "joint":
        return partial(measure_curve, found.model, found.card.geometry)
    module, card = read_model(name)
    return partial(measure_path, module.eval().backbone, card.geometry)


def forget_parts(*names: str | None) -> None:
    """Measure the parts of these models again: the machine may have been busy the first time."""
    for name in names:
        _shared.measured_parts().pop(name, None)


def parts_of(name: str | None) -> Parts | None:
    """What a model takes here: its parts, a block by tokens, or the whole of a joint model; None until measured."""
    return _shared.measured_parts().get(name)
