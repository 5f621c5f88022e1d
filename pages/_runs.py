"""What models say about pictures, kept with the session: traces, answers, attributions, measurements."""

import io
from collections.abc import Sequence
from dataclasses import replace
from threading import Thread
from typing import Any

import streamlit as st
from PIL import ImageOps

from core import attribution, checkpoints, latency, registry, removal, rivals, trace
from core.agreements import PhotoAgreement, agreement
from core.attributions import Attribution, Method
from core.class_lists import with_classes
from core.config import ModelSpec
from core.images import open_photo, to_tensor
from core.macs import macs_per_block as count_per_block
from core.results import (
    ClassName,
    MacCount,
    Prediction,
    TokenTrace,
)
from core.timings import Latency, LatencyTable, PathCosts
from pages import _models

THUMBNAIL = 240
"""Pixels of a side."""


@st.cache_data(max_entries=128, scope="session", show_spinner=False)
def token_trace(spec: ModelSpec, image_id: str) -> TokenTrace:
    """Which patches of the photo the model keeps."""
    model, decide = deciding(spec)
    with _models.inference_lock():
        return trace.trace_tokens(model, _models.photo(image_id), decide)


def deciding(spec: ModelSpec) -> tuple[checkpoints.Loaded, Any]:
    """The model with selectors behind a spec, one in memory however it is to decide, and how it decides."""
    model = _models.loaded(replace(spec, keep=None, threshold=None))
    return model, checkpoints.decision(spec, len(model.card.selectors.blocks), model.card.geometry.patches)


@st.cache_data(max_entries=16, scope="session", show_spinner="Running the model …")
def rival_trace(spec: ModelSpec, image_id: str, rival: rivals.Rival) -> TokenTrace:
    """The photo with as many patches kept as `spec` keeps, chosen another way."""
    model, ours = deciding(spec)[0], token_trace(spec, image_id)
    with _models.inference_lock():
        return rivals.rival_trace(model, _models.photo(image_id), ours, rival)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def removal_of(spec: ModelSpec, image_id: str, turn: int) -> removal.Removal:
    """Masked against removed tokens on the photo; another `turn` measures again."""
    model, decide = deciding(spec)
    with _models.alone():
        return removal.compare_removal(model, to_tensor(_models.photo(image_id), model.card), decide)


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
    model = _models.loaded(spec)  # not under the lock: whoever loads it waits for the lock, and we would wait for them
    with _models.inference_lock():
        return trace.predict(model, _models.photo(image_id))


@st.cache_data(max_entries=48, scope="session", show_spinner=False)
def _attributed(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    model = _models.loaded(spec)
    with _models.attribution_lock():
        return attribution.attribute(model, _models.photo(image_id), class_index, method)


def attributed(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    """Which patches of the photo the answer rests on; a rollout is the same for every class."""
    waits = "Another visitor is computing an attribution; yours starts next."
    with st.spinner(waits if _models.attribution_lock().locked() else "Looking for what the answer rests on …"):
        return _attributed(spec, image_id, 0 if method == "rollout" else class_index, method)


def compared(specs: tuple[ModelSpec, ModelSpec], name: str, data: bytes) -> tuple[PhotoAgreement, bytes]:
    """What two models make of one photo of many, and the photo as a small JPEG; cached nowhere.

    Raises:
        InputError: If the data are no photo.
    """
    picture = open_photo(data)
    models_ = [_models.loaded(spec) for spec in specs]
    with _models.inference_lock():
        (a, macs_a), (b, macs_b) = (trace.answer(model, picture) for model in models_)
    small = io.BytesIO()
    ImageOps.fit(picture, (THUMBNAIL, THUMBNAIL)).save(small, "JPEG", quality=80)
    row = PhotoAgreement(name, a.top(1)[0], b.top(1)[0], agreement(a, b), macs_a.total, macs_b.total)
    return row, small.getvalue()


def forget_photo() -> None:
    """Drop all that was computed from this session's photos."""
    st.session_state.pop("prepared", None)
    for cached in (
        _models.photo,
        _models.photo_url,
        token_trace,
        rival_trace,
        removal_of,
        prediction,
        measured,
        _attributed,
    ):
        cached.clear()


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring; others wait meanwhile …")
def measured(specs: tuple[ModelSpec, ...], image_id: str, turn: int) -> tuple[Latency, ...]:
    """Latency of each model on the photo, taking turns; another `turn` measures again."""
    models_ = [_models.loaded(spec) for spec in specs]
    with _models.alone():
        return latency.measure_latency([m.model for m in models_], to_tensor(_models.photo(image_id), models_[0].card))


@st.cache_resource(max_entries=1, show_spinner=False)
def measurements() -> dict[str, Thread]:
    """By model, the thread that measures its parts right now."""
    return {}


@st.cache_resource(max_entries=1, show_spinner=False)
def measured_parts() -> dict[str, PathCosts | LatencyTable]:
    """By model, what its parts take here, since the server started; see `pages._parts`."""
    return {}


def macs_per_block(spec: ModelSpec, image_id: str) -> tuple[MacCount, ...]:
    """Multiply-adds of each block of this photo through a model with token selectors."""
    return count_per_block(deciding(spec)[0].card.geometry, token_trace(spec, image_id))


def macs_of(spec: ModelSpec, image_id: str) -> MacCount:
    """Multiply-adds of this photo through the model, by part."""
    if _models.loaded(ModelSpec(spec.name)).method == "tokens":  # however it is to decide: no other model to load
        return token_trace(spec, image_id).macs
    return trace.macs_of(_models.loaded(spec))


def keep_spec(name: str, ratio: float) -> ModelSpec:
    """Every selector keeps `ratio` of the patches that reach it: 0.7 leaves 0.7, 0.49, 0.34 of all patches."""
    stages = len(_models.loaded(ModelSpec(name)).card.selectors.blocks)
    return ModelSpec(name, keep=tuple(round(ratio**stage, 4) for stage in range(1, stages + 1)))


def open_file(path: str, classes: tuple[str, tuple[ClassName, ...]] | None) -> registry.ModelEntry:
    """Read a weights file and list it in this session, in place of an earlier one of this path.

    Args:
        path: On the server's machine.
        classes: The name of a file with class names and those in it; None: as the weights file says.

    Raises:
        InputError: If it cannot be read, or the names are not as many as its classes.
    """
    spec = ModelSpec(path)
    _models.load_once.clear(spec)  # it may have changed on the disk
    found = _models.load_once(spec)
    if classes:
        found = with_classes(found, classes[1])
    st.session_state.setdefault("class_names", {})[path] = classes
    entry = registry.entry_of_file(path, found.card)
    st.session_state["files"] = st.session_state.get("files", {}) | {path: entry}
    forget_photo()  # what was computed may carry other names
    return entry
