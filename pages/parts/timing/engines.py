"""Measuring on a page in an engine of one's choice, made ready beside the page, which goes on answering."""

from dataclasses import dataclass
from functools import partial

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.inference.rounding import roundings
from core.latency.engines import Runner, ready
from core.results.timings import COMPILE, EAGER, ENGINES, ROUNDED, Rounding
from core.training.scored import sample_pictures
from pages.parts.shared import frame, links
from pages.server import hosted, locks, models, queues, timings
from pages.server.jobs import Handle, Standing, Work
from viz.cost import engine_text, latency_text, rounding_text

Key = tuple[ModelSpec, str]
TOOK = {engine: "a minute or more" if engine == COMPILE else "seconds" for engine in ENGINES}


@dataclass(frozen=True, eq=False)
class Ready:
    """A model made ready."""

    run: Runner
    moved: tuple[Rounding, ...]
    """How far the engine moves its answers on the sample pictures; nothing where it computes in float32."""


def measure_panel(specs: dict[str, ModelSpec], image_id: str) -> None:
    """An engine, and a button that measures all models in it.

    Args:
        specs: By what to call them; the first is what the others are held against. All do the same for every photo.
        image_id: The photo.
    """
    if hosted.is_off(hosted.MEASURING):
        return
    usual = links.bring("engine", EAGER, links.one_of(list(ENGINES)))
    engine = st.segmented_control(
        "Engine", list(ENGINES), default=usual, format_func=ENGINES.get, required=True, key="engine",
        wrap=True,
        bind="query-params",
    )  # fmt: skip
    if engine == EAGER:
        frame.latency_panel(specs, image_id, stands_above=True)
        return
    keys = {label: (spec, engine) for label, spec in specs.items()}
    mine = queues.engines().asked_by(queues.visitor())
    watching = any(key in mine and queues.engines().standing(key).under_way for key in keys.values())
    st.fragment(_panel, run_every=1.0 if watching else None)(keys, image_id, engine, watching=watching)


def _panel(keys: dict[str, Key], image_id: str, engine: str, *, watching: bool) -> None:
    """Each second while something is made ready: how far is it?"""
    jobs, who = queues.engines(), queues.visitor()
    turn = ("latency", engine, tuple(keys.values()), image_id)
    turns = st.session_state.setdefault("turns", {})
    pressed = st.button(f"Measure in {ENGINES[engine]}", icon=":material/timer:")
    if pressed:
        turns[turn] = turns.get(turn, 0) + 1
    if not turns.get(turn):
        return
    jobs.leave(who, but=lambda key: key in keys.values())  # what this panel showed before
    found = {label: jobs.ask(key, who, partial(_work, *key), again=pressed) for label, key in keys.items()}
    waiting = [label for label, standing in found.items() if standing.under_way]
    if waiting:
        _progress(keys, found, waiting, engine)
    if watching != bool(waiting):
        st.rerun()  # begin, or cease, to look each second
    if any(standing.state == "cancelled" for standing in found.values()):
        st.info("Cancelled; press the button to begin again.", icon=":material/info:")
    elif not waiting:
        _show(keys, found, image_id, engine, turns[turn])


def _progress(keys: dict[str, Key], found: dict[str, Standing], waiting: list[str], engine: str) -> None:
    """How many are ready, what others have asked for before, and a way to end it."""
    done, before = len(found) - len(waiting), found[waiting[0]].before
    line = f" {before} of other visitors before it." if before else ""
    st.progress(
        done / len(found),
        f"Making ready in {ENGINES[engine]}, {TOOK[engine]} each: {done} of {len(found)} done, now {waiting[0]}.{line} "
        "The page goes on answering.",
    )
    st.button("Cancel", key="cancel engines", icon=":material/close:", on_click=_cancel, args=(list(keys.values()),))


def _cancel(keys: list[Key]) -> None:
    for key in keys:
        queues.engines().cancel(key)


def _show(keys: dict[str, Key], found: dict[str, Standing], image_id: str, engine: str, turn: int) -> None:
    """One line per model, held against the first in the same engine and against itself in eager torch.

    One that the engine could not take has its sentence instead, and the others are measured.
    """
    failed = {label: standing.failure for label, standing in found.items() if standing.failure}
    for sentence in dict.fromkeys(failed.values()):
        who = [label for label, failure in failed.items() if failure == sentence]
        st.error(sentence if len(who) == len(keys) else f"{'; '.join(who)}: {sentence}", icon=":material/error:")
    specs = {label: spec for label, (spec, _) in keys.items() if label not in failed}
    if not specs:
        return
    runners = [found[label].result.run for label in specs]
    times = timings.measured(tuple(specs.values()), image_id, turn, engine, runners)
    eager, there = times[: len(specs)], times[len(specs) :]
    for label, before, now in zip(specs, eager, there, strict=True):
        is_slower = now is not there[0] and now.median_ms > there[0].median_ms
        badge = f" :red-badge[Slower than {next(iter(specs))} here]" if is_slower else ""
        moved = rounding_text(found[label].result.moved)
        st.markdown(f"**{label}:** {latency_text(now)}; {engine_text(now, before)}.{badge}{moved}")


def _work(spec: ModelSpec, engine: str) -> Work:
    """What makes a model ready; it is loaded here, where the session's caches are."""
    loaded, lock = models.loaded(spec), locks.engine_lock()

    def work(handle: Handle) -> Ready:
        with lock:
            handle.check()  # somebody else's may have taken a minute
            try:
                run = ready(loaded, engine)
                moved = roundings(loaded, run, sample_pictures()) if engine in ROUNDED else ()
                return Ready(run, moved)
            except InputError:
                raise
            except Exception as error:
                raise InputError(f"{spec.name} cannot be made ready in {ENGINES[engine]} ({error}).") from error

    return work
