"""Measuring on a page in an engine of one's choice, made ready beside the page, which goes on answering."""

from threading import Thread

import streamlit as st

from core.config import ModelSpec
from core.engines import Runner, ready
from core.errors import InputError
from core.timings import EAGER, ENGINES
from pages import _frame, _shared, _url
from viz.cost import engine_text, latency_text

KEPT = 12
"""Models in engines that stay in memory."""


def measure_panel(specs: dict[str, ModelSpec], image_id: str) -> None:
    """An engine, and a button that measures all models in it.

    Args:
        specs: By what to call them; the first is what the others are held against. All do the same for every photo.
        image_id: The photo.
    """
    usual = _url.bring("engine", EAGER, _url.one_of(list(ENGINES)))
    engine = st.segmented_control(
        "Engine", list(ENGINES), default=usual, format_func=ENGINES.get, required=True, key="engine",
        bind="query-params",
    )  # fmt: skip
    if engine == EAGER:
        _frame.latency_panel(specs, image_id)
        return
    waiting = any((spec, engine) in _shared.preparing() for spec in specs.values())
    st.fragment(_panel, run_every=1.0 if waiting else None)(specs, image_id, engine, watching=waiting)


def _panel(specs: dict[str, ModelSpec], image_id: str, engine: str, *, watching: bool) -> None:
    """Each second while something is made ready: how far is it?"""
    key = ("latency", engine, tuple(specs.values()), image_id)
    turns = st.session_state.setdefault("turns", {})
    pressed = st.button(f"Measure in {ENGINES[engine]}", icon=":material/timer:")
    if pressed:
        turns[key] = turns.get(key, 0) + 1
        for spec in specs.values():  # what could not be made ready may be possible by now
            if isinstance(_shared.prepared().get((spec, engine)), InputError):
                del _shared.prepared()[spec, engine]
    if not turns.get(key):
        return
    missing = [label for label, spec in specs.items() if (spec, engine) not in _shared.prepared()]
    if missing:
        _make_ready([specs[label] for label in missing], engine)
        done = len(specs) - len(missing)
        took = "seconds" if engine == "onnxruntime" else "a minute or more"
        st.progress(
            done / len(specs),
            f"Making ready in {ENGINES[engine]}, {took} each: {done} of {len(specs)} done, now {missing[0]}. "
            f"The page goes on answering.",
        )
    if watching != bool(missing):
        st.rerun()  # begin, or cease, to look each second
    if not missing:
        _show(specs, image_id, engine, turns[key])


def _show(specs: dict[str, ModelSpec], image_id: str, engine: str, turn: int) -> None:
    """One line per model, held against the first in the same engine and against itself in eager torch.

    One that the engine could not take has its sentence instead, and the others are measured.
    """
    failed = {label: found for label, spec in specs.items() if isinstance(found := _made(spec, engine), InputError)}
    for sentence in dict.fromkeys(map(str, failed.values())):
        who = [label for label, error in failed.items() if str(error) == sentence]
        st.error(sentence if len(who) == len(specs) else f"{'; '.join(who)}: {sentence}", icon=":material/error:")
    specs = {label: spec for label, spec in specs.items() if label not in failed}
    if not specs:
        return
    found = _shared.measured(tuple(specs.values()), image_id, turn, engine)
    eager, there = found[: len(specs)], found[len(specs) :]
    for label, before, now in zip(specs, eager, there, strict=True):
        is_slower = now is not there[0] and now.median_ms > there[0].median_ms
        badge = f" :red-badge[Slower than {next(iter(specs))} here]" if is_slower else ""
        st.markdown(f"**{label}:** {latency_text(now)}; {engine_text(now, before)}.{badge}")


def _made(spec: ModelSpec, engine: str) -> Runner | InputError | None:
    return _shared.prepared().get((spec, engine))


def _make_ready(specs: list[ModelSpec], engine: str) -> None:
    """Start what is not under way yet, in one thread after the other's end; for all sessions."""
    mine = [spec for spec in specs if (spec, engine) not in _shared.preparing()]
    if not mine:
        return
    models = [_shared.loaded(spec) for spec in mine]  # here, where the session's caches are
    thread = Thread(
        target=_work, args=(models, engine, _shared.prepared(), _shared.preparing(), _shared.engine_lock()), daemon=True
    )
    _shared.preparing().update({(spec, engine): thread for spec in mine})
    thread.start()


def _work(models: list, engine: str, prepared: dict, preparing: dict, lock: object) -> None:
    """In its own thread: make each model ready, or keep why it cannot be."""
    for loaded in models:
        key = (loaded.spec, engine)
        found: Runner | InputError
        try:
            with lock:
                found = ready(loaded, engine)
        except InputError as error:
            found = error
        except Exception as error:  # a thread that dies silently would be waited for forever
            found = InputError(f"{loaded.spec.name} cannot be made ready in {ENGINES[engine]} ({error}).")
        while len(prepared) >= KEPT:
            prepared.pop(next(iter(prepared)))
        prepared[key] = found
        preparing.pop(key, None)
