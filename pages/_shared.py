"""What all pages share: the router guard, the only caches, one lock around inference, and what is shown alike."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image
from streamlit.errors import StreamlitAPIException

from core import checkpoints, latency, registry, trace
from core.config import ModelSpec
from core.errors import InputError
from core.images import model_view, open_photo, to_tensor
from core.recorded import recorded_evaluations
from core.results import Architecture, GateHistory, KernelReading, MacCount, Prediction, Recorded, TokenTrace
from core.single_path.blocks import block_count, read_block
from core.single_path.derive import budget_range, derive
from core.single_path.history import history_file, read_history
from core.soft_tokens.schedules import schedule_macs
from core.timings import Latency, LatencyTable, PathCosts
from pages import _url
from viz.cost import latency_text
from viz.theme import light_ink


def guard(path: str, *keys: str) -> None:
    """First line of each page, before anything is shown.

    With no router before it (a fresh server), go through app.py and come back. Coming from another page, bring the
    settings along: Streamlit ties a bound value to one page's widget, so they are handed to this page in its URL.

    Args:
        path: Of this page.
        keys: The settings of this page that other pages have too; what a link says comes first.
    """
    query = {key: st.query_params.get_all(key) for key in st.query_params}
    if "routed" not in st.session_state:
        st.session_state["came_for"] = (path, query)
        st.switch_page("app.py")
    before = st.session_state.get("on_page")
    st.session_state["on_page"] = path
    held = _url.settings(keys)
    if before not in (None, path) and held.keys() - query.keys():
        try:
            st.switch_page(path, query_params=held | query)
        except StreamlitAPIException:  # the widgets of the page before still hold a key; an empty run frees it
            st.rerun()


@contextmanager
def clear_errors() -> Iterator[None]:
    """Wrong input inside: show its one sentence and end this run; the controls above go on working."""
    try:
        yield
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


# --- caches: keys are frozen configs and ids; what was computed from a photo lives with the session -------------------


@dataclass(frozen=True)
class Sample:
    """One picture of assets/samples."""

    id: str
    file: str
    title: str
    credit: str
    licence: str


@st.cache_data(max_entries=1, show_spinner=False)
def samples() -> tuple[Sample, ...]:
    """The sample pictures with their licences."""
    listed = json.loads((registry.ASSETS / "samples" / "samples.json").read_text())
    return tuple(Sample(**{key: entry[key] for key in Sample.__dataclass_fields__}) for entry in listed)


@st.cache_data(max_entries=4, show_spinner=False)
def readme_section(title: str) -> str:
    """What the README says under this heading, so that both always say the same."""
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0].strip()


@st.cache_data(max_entries=1, ttl=60, show_spinner=False)
def models() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded; looked up again each minute, so that a new file shows."""
    return registry.list_models()


@st.cache_data(max_entries=1, show_spinner=False)
def evaluations() -> tuple[Recorded, ...]:
    """Recorded evaluations of the bundled models."""
    return recorded_evaluations()


@st.cache_resource(max_entries=1, show_spinner=False)
def _lock() -> threading.RLock:
    """One inference at a time in this process: two at once on two cores are slower than one after the other."""
    return threading.RLock()


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """One object for all sessions: evaluation mode, read-only."""
    with _lock():
        return checkpoints.load(spec)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo(image_id: str) -> Image.Image:
    """The picture of an id that `pick_picture` gave."""
    kind, _, name = image_id.partition(":")
    if kind == "upload":
        return open_photo(st.session_state["uploaded"][name])
    sample = next(s for s in samples() if s.id == name)
    return open_photo((registry.ASSETS / "samples" / sample.file).read_bytes())


def view(spec: ModelSpec, image_id: str) -> Image.Image:
    """The square of the photo that the model looks at."""
    return model_view(photo(image_id), loaded(spec).card)


@st.cache_data(max_entries=64, scope="session", show_spinner="Running the model …")
def token_trace(spec: ModelSpec, image_id: str) -> TokenTrace:
    """Which patches of the photo the model keeps."""
    with _lock():
        return trace.trace_tokens(loaded(spec), photo(image_id))


@st.cache_data(max_entries=64, scope="session", show_spinner="Running the model …")
def prediction(spec: ModelSpec, image_id: str) -> Prediction:
    """What the model says about the photo."""
    with _lock():
        return trace.predict(loaded(spec), photo(image_id))


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def measured(specs: tuple[ModelSpec, ...], image_id: str, turn: int) -> tuple[Latency, ...]:
    """Latency of each model on the photo, taking turns; another `turn` measures again."""
    models_ = [loaded(spec) for spec in specs]
    with _lock():
        return latency.measure_latency([m.model for m in models_], to_tensor(photo(image_id), models_[0].card))


@st.cache_data(max_entries=256, show_spinner=False)
def architecture(name: str, budget: float) -> Architecture:
    """What a budget in MACs derives from a single-path model's gates."""
    return derive(loaded(ModelSpec(name)).gates, budget)


@st.cache_data(max_entries=8, show_spinner=False)
def reachable(name: str) -> tuple[int, int]:
    """Smallest and dense MACs of a single-path model."""
    return budget_range(loaded(ModelSpec(name)).gates)


def lowest_share(name: str) -> int:
    """The smallest budget that a single-path model takes, in percent of dense: trained for, or else reachable."""
    budgets = loaded(ModelSpec(name)).card.single_path.budgets
    least, dense = reachable(name)
    return round(100 * budgets[0]) if budgets else -(-100 * least // dense)


@st.cache_resource(max_entries=8, show_spinner=False)
def all_budgets(name: str, step: float) -> tuple[Architecture, ...]:
    """What each budget derives, from the lowest to the dense network, `step` percent apart; frozen, so not copied."""
    loaded_ = loaded(ModelSpec(name))
    low = lowest_share(name)
    shares = [low + step * i for i in range(round((100 - low) / step) + 1)]
    return tuple(derive(loaded_.gates, loaded_.dense_macs * share / 100) for share in shares)


def alone() -> threading.RLock:
    """For `with`: no inference of others meanwhile."""
    return _lock()


@st.cache_resource(max_entries=1, show_spinner=False)
def measured_parts() -> dict[str, PathCosts | LatencyTable]:
    """By model, what its parts take here, since the server started; see `pages._parts`."""
    return {}


@st.cache_resource(max_entries=4, show_spinner=False)
def kernel_readings(name: str) -> tuple[KernelReading, ...]:
    """The convolution inside each block's attention."""
    with _lock():
        module, card = checkpoints.read_model(name)
        return tuple(read_block(module, block) for block in range(card.geometry.depth))


@st.cache_resource(max_entries=4, show_spinner=False)
def gate_history(name: str) -> GateHistory | None:
    """How the gates moved in the search, if that was kept beside the weights."""
    path = checkpoints.file_of(name)
    return None if path is None else read_history(history_file(path), loaded(ModelSpec(name)).card.geometry)


@st.cache_resource(max_entries=32, show_spinner=False)
def over_search(name: str, budget: float) -> tuple[Architecture, ...]:
    """What this budget would have derived at each moment of the search."""
    history = gate_history(name)
    return () if history is None else tuple(derive(history.at(i), budget) for i in range(len(history.epochs)))


def block_counts(name: str, found: Architecture, block: int) -> tuple[MacCount, MacCount]:
    """Multiply-adds of one block by part: dense, and in this architecture."""
    geometry = loaded(ModelSpec(name)).card.geometry
    return (
        block_count(geometry, "msa", geometry.ffn_hidden),
        block_count(geometry, found.mixers[block], found.ffn_hidden[block]),
    )


def block_macs(name: str, found: Architecture) -> list[int]:
    """Multiply-adds of each block of an architecture, mixer and FFN together."""
    geometry = loaded(ModelSpec(name)).card.geometry
    return [block_count(geometry, *kind).total for kind in zip(found.mixers, found.ffn_hidden, strict=True)]


@st.cache_data(max_entries=8, show_spinner=False)
def keep_macs(name: str, ratios: tuple[float, ...]) -> list[int]:
    """Multiply-adds of any photo at each of these keep ratios of every selector."""
    found = loaded(ModelSpec(name))
    return [schedule_macs(found.card.geometry, found.model.blocks, keep_spec(name, r).keep).total for r in ratios]


def macs_of(spec: ModelSpec, image_id: str) -> MacCount:
    """Multiply-adds of this photo through the model, by part."""
    if loaded(spec).method == "tokens":
        return token_trace(spec, image_id).macs
    return trace.macs_of(loaded(spec))


def predicts(spec: ModelSpec) -> bool:
    """Whether the model's predictions may be shown: a search that has not got far enough has gates to show, no more."""
    card = loaded(spec).card
    pruned = card.single_path or card.compact
    return pruned is None or pruned.fit_to_predict


# --- what a model's name says ----------------------------------------------------------------------------------


def dense_of(name: str) -> str | None:
    """The dense model that a pruned one is compared with: the one of the same source and family."""
    own = next((entry for entry in models() if entry.name == name), None)
    if own is None or own.method == "dense":
        return name
    same = [
        e.name
        for e in models()
        if (e.method, e.source, e.family, e.available) == ("dense", own.source, own.family, True)
    ]
    return same[0] if same else None


def keep_spec(name: str, ratio: float) -> ModelSpec:
    """Every selector keeps `ratio` of the patches that reach it: 0.7 leaves 0.7, 0.49, 0.34 of all patches."""
    stages = len(loaded(ModelSpec(name)).card.selectors.blocks)
    return ModelSpec(name, keep=tuple(round(ratio**stage, 4) for stage in range(1, stages + 1)))


# --- small things that several pages say the same way ---------------------------------------------------------------


def chart(figure: Any, key: str, alt: str) -> None:
    """A figure of viz across the column, readable in both themes; in the dark one Streamlit's own labels are."""
    if st.context.theme.type == "light":
        light_ink(figure)
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False})


def weights_badge(spec: ModelSpec) -> None:
    """Say which weights run, whether they were ever trained, and what the model knows at all."""
    card = loaded(spec).card
    accuracy = card.training.get("val_top1")
    about = f"{accuracy:.1%} top-1 on validation photos" if isinstance(accuracy, float) else None
    bundled = any(entry.name == spec.name and entry.source == "bundled" for entry in models())
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if bundled and not card.training:
            st.badge(f"Never trained, its answers mean nothing: {spec.name}", icon=":material/warning:", color="red")
        elif card.selectors is not None and not card.selectors.trained:
            st.badge(f"Selectors not trained yet: {spec.name}", icon=":material/warning:", color="orange", help=about)
        else:
            st.badge(f"Real trained weights: {spec.name}", icon=":material/verified:", color="green", help=about)
        with st.popover(f"Knows {len(card.classes)} classes", type="tertiary"):
            st.markdown("Of any other thing it names the most similar of these.")
            st.markdown(
                ", ".join(name.label for name in card.classes[:100]) + (" …" if len(card.classes) > 100 else "")
            )


@st.fragment
def latency_panel(specs: dict[str, ModelSpec], image_id: str) -> None:
    """Measure on demand: one line per model with device, threads, batch and spread; the first is dense.

    A fragment: the rest of the page stays as it is while somebody measures.
    """
    key = ("latency", tuple(specs.values()), image_id)
    turns = st.session_state.setdefault("turns", {})
    done = turns.get(key, 0)
    if st.button("Measure again" if done else "Measure latency here", icon=":material/timer:"):
        turns[key] = done = done + 1
    if not done:
        return
    found = dict(zip(specs, measured(tuple(specs.values()), image_id, done), strict=True))
    dense = next(iter(found.values()))
    for name, time in found.items():
        slower = time is not dense and time.median_ms > dense.median_ms
        st.markdown(f"**{name}:** {latency_text(time)}." + (" :red-badge[Slower than dense here]" if slower else ""))
