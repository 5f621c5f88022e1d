"""What all pages share: the router guard, the only caches, one lock around inference, and what is shown alike."""

import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image, ImageOps
from streamlit.errors import StreamlitAPIException

from core import attribution, checkpoints, latency, registry, removal, rivals, trace
from core.agreements import PhotoAgreement, agreement
from core.attributions import Attribution, Method
from core.cards import ModelCard
from core.class_lists import with_classes
from core.config import ModelSpec
from core.downloads import Download
from core.errors import InputError
from core.images import model_view, open_photo, to_tensor
from core.macs import macs_per_block as count_per_block
from core.recorded import recorded_evaluations
from core.releases.files import released_names
from core.results import (
    Architecture,
    ClassName,
    GateHistory,
    KernelReading,
    MacCount,
    Prediction,
    Recorded,
    TokenTrace,
)
from core.single_path.blocks import block_count, read_block
from core.single_path.derive import budget_range, derive
from core.single_path.history import history_file, read_history
from core.soft_tokens.schedules import schedule_macs
from core.timings import Latency, LatencyTable, PathCosts
from pages import _classes, _url
from viz import player
from viz.cost import latency_text
from viz.theme import light_ink
from viz.thumbnails import thumbnail_style

GREYED = "filter: grayscale(1); opacity: 0.55;"
"""How answers look that mean nothing."""

THUMBNAIL = 240
"""Pixels of a side."""


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
    st.session_state["on_page"], st.session_state["settings"] = path, keys
    held = _url.settings(keys)
    if before not in (None, path) and held.keys() - query.keys():
        try:
            st.switch_page(path, query_params=held | query)
        except StreamlitAPIException:  # the widgets of the page before still hold a key; an empty run frees it
            st.rerun()


def settings_of_page() -> tuple[str, ...]:
    """Names of the settings that this page has in its URL, as it told `guard`."""
    return st.session_state.get("settings", ())


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


@st.cache_data(max_entries=1, show_spinner=False)
def thumbnails() -> str:
    """A style sheet that puts each sample picture, small, on its pill."""
    pictures = [open_photo((registry.ASSETS / "samples" / sample.file).read_bytes()) for sample in samples()]
    return thumbnail_style(pictures, ".st-key-pic")


@st.cache_data(max_entries=4, show_spinner=False)
def readme_section(title: str) -> str:
    """What the README says under this heading, so that both always say the same."""
    text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0].strip()


@st.cache_data(max_entries=1, ttl=60, show_spinner=False)
def _listed() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded by name; looked up again each minute, so that a new file shows."""
    return registry.list_models()


def models() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded: by name, and the weights files that this session has opened."""
    return (*_listed(), *st.session_state.get("files", {}).values())


@st.cache_data(max_entries=1, show_spinner=False)
def evaluations() -> tuple[Recorded, ...]:
    """Recorded evaluations of the bundled models."""
    return recorded_evaluations()


@st.cache_resource(max_entries=1, show_spinner=False)
def _lock() -> threading.RLock:
    """One inference at a time in this process: two at once on two cores are slower than one after the other.

    No lock per model is needed for the answers' sake: a forward pass leaves nothing on a model, and what hangs hooks on
    one, attribution, works on a copy. A measurement holds it too, so that nobody else is timed with it.
    """
    return threading.RLock()


@st.cache_resource(max_entries=1, show_spinner=False)
def _attribution_lock() -> threading.Lock:
    """One attribution at a time, beside the inferences: these wait for nobody's seconds of gradients."""
    return threading.Lock()


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def _loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """One object for all sessions: evaluation mode, read-only."""
    if spec.budget is None:
        with _lock():
            return checkpoints.load(spec)
    module, card = _stored(spec.name)
    with _lock():
        return checkpoints.finish(spec, card, module)


@st.cache_resource(max_entries=2, show_spinner=False)
def _stored(name: str) -> tuple[Any, ModelCard]:
    """A model as its file has it: what each budget's form is made of, in a third of the time that reading takes."""
    with _lock():
        return checkpoints.read_model(name)


def loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """The model, shared by all sessions; under the class names that this session gave it, if it did."""
    names = st.session_state.get("class_names", {}).get(spec.name)
    return with_classes(_loaded(spec), names[1]) if names else _loaded(spec)


def open_file(path: str, classes: tuple[str, tuple[ClassName, ...]] | None) -> registry.ModelEntry:
    """Read a weights file and list it in this session, in place of an earlier one of this path.

    Args:
        path: On the server's machine.
        classes: The name of a file with class names and those in it; None: as the weights file says.

    Raises:
        InputError: If it cannot be read, or the names are not as many as its classes.
    """
    spec = ModelSpec(path)
    _loaded.clear(spec)  # it may have changed on the disk
    found = _loaded(spec)
    if classes:
        found = with_classes(found, classes[1])
    st.session_state.setdefault("class_names", {})[path] = classes
    entry = registry.entry_of_file(path, found.card)
    st.session_state["files"] = st.session_state.get("files", {}) | {path: entry}
    forget_photo()  # what was computed may carry other names
    return entry


@st.cache_resource(max_entries=1, show_spinner=False)
def downloads() -> dict[str, Download]:
    """The latest download of each model by name, for all sessions: nobody fetches what another is fetching."""
    return {}


def look_again() -> None:
    """Forget what can be loaded, since that has changed."""
    _listed.clear()


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


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo_url(name: str, image_id: str) -> str:
    """The square of the photo that a model looks at, for the player."""
    return player.photo_url(view(ModelSpec(name), image_id))


@st.cache_data(max_entries=128, scope="session", show_spinner=False)
def token_trace(spec: ModelSpec, image_id: str) -> TokenTrace:
    """Which patches of the photo the model keeps."""
    model, decide = deciding(spec)
    with _lock():
        return trace.trace_tokens(model, photo(image_id), decide)


def deciding(spec: ModelSpec) -> tuple[checkpoints.Loaded, Any]:
    """The model with selectors behind a spec, one in memory however it is to decide, and how it decides."""
    model = loaded(replace(spec, keep=None, threshold=None))
    return model, checkpoints.decision(spec, len(model.card.selectors.blocks), model.card.geometry.patches)


@st.cache_data(max_entries=16, scope="session", show_spinner="Running the model …")
def rival_trace(spec: ModelSpec, image_id: str, rival: rivals.Rival) -> TokenTrace:
    """The photo with as many patches kept as `spec` keeps, chosen another way."""
    model, ours = deciding(spec)[0], token_trace(spec, image_id)
    with _lock():
        return rivals.rival_trace(model, photo(image_id), ours, rival)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def removal_of(spec: ModelSpec, image_id: str, turn: int) -> removal.Removal:
    """Masked against removed tokens on the photo; another `turn` measures again."""
    model, decide = deciding(spec)
    with alone():
        return removal.compare_removal(model, to_tensor(photo(image_id), model.card), decide)


def prepared(name: str, image_id: str) -> None:
    """The traces of all keep ratios are in the cache, which has room for a few such sets."""
    st.session_state["prepared"] = [*st.session_state.get("prepared", ()), (name, image_id)][-5:]


def prepared_steps(name: str, image_id: str, ratios: Sequence[float]) -> dict[float, TokenTrace] | None:
    """The traces of these keep ratios; None until somebody ran the model at all of them."""
    if (name, image_id) not in st.session_state.get("prepared", ()):
        return None
    return {ratio: token_trace(keep_spec(name, ratio), image_id) for ratio in ratios}


@st.cache_data(max_entries=64, scope="session", show_spinner="Running the model …")
def prediction(spec: ModelSpec, image_id: str) -> Prediction:
    """What the model says about the photo."""
    model = loaded(spec)  # not under the lock: whoever loads it waits for the lock, and we would wait for them
    with _lock():
        return trace.predict(model, photo(image_id))


@st.cache_data(max_entries=48, scope="session", show_spinner=False)
def _attributed(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    model = loaded(spec)
    with _attribution_lock():
        return attribution.attribute(model, photo(image_id), class_index, method)


def attributed(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    """Which patches of the photo the answer rests on; a rollout is the same for every class."""
    waits = "Another visitor is computing an attribution; yours starts next."
    with st.spinner(waits if _attribution_lock().locked() else "Looking for what the answer rests on …"):
        return _attributed(spec, image_id, 0 if method == "rollout" else class_index, method)


def compared(specs: tuple[ModelSpec, ModelSpec], name: str, data: bytes) -> tuple[PhotoAgreement, bytes]:
    """What two models make of one photo of many, and the photo as a small JPEG; cached nowhere.

    Raises:
        InputError: If the data are no photo.
    """
    picture = open_photo(data)
    models_ = [loaded(spec) for spec in specs]
    with _lock():
        (a, macs_a), (b, macs_b) = (trace.answer(model, picture) for model in models_)
    small = io.BytesIO()
    ImageOps.fit(picture, (THUMBNAIL, THUMBNAIL)).save(small, "JPEG", quality=80)
    row = PhotoAgreement(name, a.top(1)[0], b.top(1)[0], agreement(a, b), macs_a.total, macs_b.total)
    return row, small.getvalue()


def forget_photo() -> None:
    """Drop all that was computed from this session's photos."""
    st.session_state.pop("prepared", None)
    for cached in (photo, photo_url, token_trace, rival_trace, removal_of, prediction, measured, _attributed):
        cached.clear()


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def measured(specs: tuple[ModelSpec, ...], image_id: str, turn: int) -> tuple[Latency, ...]:
    """Latency of each model on the photo, taking turns; another `turn` measures again."""
    models_ = [loaded(spec) for spec in specs]
    with alone():
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


@contextmanager
def alone() -> Iterator[None]:
    """For `with`: neither inference nor attribution of others meanwhile. Load models before, never inside."""
    with _attribution_lock(), _lock():
        yield


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


def block_macs(name: str, all_found: Sequence[Architecture]) -> list[list[int]]:
    """Multiply-adds of each block of each architecture, mixer and FFN together."""
    geometry = loaded(ModelSpec(name)).card.geometry
    count = cache(lambda mixer, hidden: block_count(geometry, mixer, hidden).total)
    return [[count(*kind) for kind in zip(found.mixers, found.ffn_hidden, strict=True)] for found in all_found]


@st.cache_data(max_entries=8, show_spinner=False)
def keep_macs(name: str, ratios: tuple[float, ...]) -> list[int]:
    """Multiply-adds of any photo at each of these keep ratios of every selector."""
    found = loaded(ModelSpec(name))
    return [schedule_macs(found.card.geometry, found.model.blocks, keep_spec(name, r).keep).total for r in ratios]


def macs_per_block(spec: ModelSpec, image_id: str) -> tuple[MacCount, ...]:
    """Multiply-adds of each block of this photo through a model with token selectors."""
    return count_per_block(deciding(spec)[0].card.geometry, token_trace(spec, image_id))


def macs_of(spec: ModelSpec, image_id: str) -> MacCount:
    """Multiply-adds of this photo through the model, by part."""
    if loaded(ModelSpec(spec.name)).method == "tokens":  # however it is to decide: no other model to load
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
    if own.source == "released":
        return _backbone_of(name)
    if own.source == "file":
        return _alike(name)
    same = [
        e.name
        for e in models()
        if (e.method, e.source, e.family, e.available) == ("dense", own.source, own.family, True)
    ]
    return same[0] if same else None


def _backbone_of(name: str) -> str | None:
    """timm's dense model that a released one was made of, if it is on this machine."""
    start = released_names()[name][0].backbone + "."
    return next((e.name for e in models() if e.source == "timm" and e.available and e.name.startswith(start)), None)


def _alike(name: str) -> str | None:
    """A dense model, bundled or opened here, of the same input and classes as a file's."""
    own = loaded(ModelSpec(name)).card
    for entry in models():
        if entry.method == "dense" and entry.source in ("bundled", "file") and entry.available:
            card = loaded(ModelSpec(entry.name)).card
            if (card.classes, card.geometry.img_size) == (own.classes, own.geometry.img_size):
                return entry.name
    return None


def keep_spec(name: str, ratio: float) -> ModelSpec:
    """Every selector keeps `ratio` of the patches that reach it: 0.7 leaves 0.7, 0.49, 0.34 of all patches."""
    stages = len(loaded(ModelSpec(name)).card.selectors.blocks)
    return ModelSpec(name, keep=tuple(round(ratio**stage, 4) for stage in range(1, stages + 1)))


# --- small things that several pages say the same way ---------------------------------------------------------------


def chart(figure: Any, key: str, alt: str, **more: Any) -> None:
    """A figure of viz across the column, readable in both themes; in the dark one Streamlit's own labels are."""
    if st.context.theme.type == "light":
        light_ink(figure)
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False}, **more)


def weights_badge(spec: ModelSpec) -> None:
    """Say which weights run, whether they were ever trained, and what the model knows at all."""
    card = loaded(spec).card
    accuracy = card.training.get("val_top1")
    about = f"{accuracy:.1%} top-1 on validation photos" if isinstance(accuracy, float) else None
    name = Path(spec.name).name  # of a file without its folder
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if never_trained(spec):
            st.badge(f"Never trained, its answers mean nothing: {name}", icon=":material/warning:", color="red")
            st.html(f"<style>.st-key-top5 {{ {GREYED} }}</style>")
        elif card.selectors is not None and not card.selectors.trained:
            st.badge(f"Selectors not trained yet: {name}", icon=":material/warning:", color="orange", help=about)
        elif not card.training and source_of(spec.name) == "file":
            st.badge(f"Weights from a file: {name}", icon=":material/draft:", color="blue")
        else:
            st.badge(f"Real trained weights: {name}", icon=":material/verified:", color="green", help=about)
        with st.popover(f"Knows {len(card.classes):,} classes", type="tertiary"):
            st.markdown("Of any other thing it names the most similar of these.")
            _classes.list_classes(card.classes)


def source_of(name: str) -> str | None:
    """Where a model comes from; see `core.registry.ModelEntry`."""
    return next((entry.source for entry in models() if entry.name == name), None)


def never_trained(spec: ModelSpec) -> bool:
    """Whether the weights are those that a model starts from; files of others do not say, and count as trained."""
    ours = source_of(spec.name) == "bundled" or spec.name.endswith(".safetensors")
    return ours and not loaded(spec).card.training


@st.fragment
def latency_panel(specs: dict[str, ModelSpec], image_id: str, slower: str = "Slower than dense here") -> None:
    """Measure on demand: one line per model with device, threads, batch and spread.

    Args:
        specs: By what to call them; the first is what the others are held against.
        image_id: The photo.
        slower: What to say of one that takes longer than the first.

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
    first = next(iter(found.values()))
    for name, time in found.items():
        is_slower = time is not first and time.median_ms > first.median_ms
        st.markdown(f"**{name}:** {latency_text(time)}." + (f" :red-badge[{slower}]" if is_slower else ""))
