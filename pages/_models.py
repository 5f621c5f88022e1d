"""Models and pictures, kept once: what can be loaded, what is loaded, the locks, and whose photo is whose."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import Image

from core import checkpoints, registry
from core.cards import ModelCard
from core.class_lists import with_classes
from core.config import ModelSpec
from core.downloads import Download
from core.images import model_view, open_photo
from core.recorded import recorded_evaluations
from core.releases.files import released_names
from core.results import (
    Recorded,
)
from viz import player
from viz.thumbnails import thumbnail_style


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
def inference_lock() -> threading.RLock:
    """One inference at a time in this process: two at once on two cores are slower than one after the other.

    No lock per model is needed for the answers' sake: a forward pass leaves nothing on a model, and what hangs hooks on
    one, attribution, works on a copy. A measurement holds it too, so that nobody else is timed with it.
    """
    return threading.RLock()


@st.cache_resource(max_entries=1, show_spinner=False)
def attribution_lock() -> threading.Lock:
    """One attribution at a time, beside the inferences: these wait for nobody's seconds of gradients."""
    return threading.Lock()


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def load_once(spec: ModelSpec) -> checkpoints.Loaded:
    """One object for all sessions: evaluation mode, read-only."""
    if spec.budget is None:
        with inference_lock():
            return checkpoints.load(spec)
    module, card = _stored(spec.name)
    with inference_lock():
        return checkpoints.finish(spec, card, module)


@st.cache_resource(max_entries=2, show_spinner=False)
def _stored(name: str) -> tuple[Any, ModelCard]:
    """A model as its file has it: what each budget's form is made of, in a third of the time that reading takes."""
    with inference_lock():
        return checkpoints.read_model(name)


def loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """The model, shared by all sessions; under the class names that this session gave it, if it did."""
    names = st.session_state.get("class_names", {}).get(spec.name)
    return with_classes(load_once(spec), names[1]) if names else load_once(spec)


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


@contextmanager
def alone() -> Iterator[None]:
    """For `with`: neither inference nor attribution of others meanwhile. Load models before, never inside."""
    with attribution_lock(), inference_lock():
        yield


def predicts(spec: ModelSpec) -> bool:
    """Whether the model's predictions may be shown: a search that has not got far enough has gates to show, no more."""
    card = loaded(spec).card
    pruned = card.single_path or card.compact
    return pruned is None or pruned.fit_to_predict


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


def source_of(name: str) -> str | None:
    """Where a model comes from; see `core.registry.ModelEntry`."""
    return next((entry.source for entry in models() if entry.name == name), None)


def never_trained(spec: ModelSpec) -> bool:
    """Whether the weights are those that a model starts from; files of others do not say, and count as trained."""
    ours = source_of(spec.name) == "bundled" or spec.name.endswith(".safetensors")
    return ours and not loaded(spec).card.training
