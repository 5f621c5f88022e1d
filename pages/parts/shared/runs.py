"""Runs beyond the caches: all keep ratios at once, many photos, and forgetting."""

import io
from collections.abc import Mapping

import streamlit as st
from PIL import ImageOps

from core.config import ModelSpec
from core.inference import trace
from core.inference.agreements import PhotoAgreement, agreement
from core.inference.common_classes import common_classes, on_common
from core.photos.image import open_photo
from core.results import TokenTrace
from pages.server import images, inference, locks, models, timings

THUMBNAIL = 240
"""Pixels of a side."""


def prepared(model: tuple, image_id: str, traces: Mapping[float, TokenTrace]) -> None:
    """Keep the traces of all keep ratios for this session; those of a few photos, as they are, copied by nobody.

    `model`: its name and, where patches are ranked, the blocks before which they are.
    """
    held = st.session_state.setdefault("prepared", {})
    held[model, image_id] = traces
    for oldest in list(held)[:-5]:
        del held[oldest]


def prepared_steps(model: tuple, image_id: str) -> Mapping[float, TokenTrace] | None:
    """The traces of all keep ratios; None until this session ran the model at all of them."""
    return st.session_state.get("prepared", {}).get((model, image_id))


def compared(specs: tuple[ModelSpec, ModelSpec], name: str, data: bytes) -> tuple[PhotoAgreement, bytes]:
    """What two models make of one photo of many, on the classes that both know, and a small JPEG; cached nowhere.

    Raises:
        InputError: If the data are no photo.
    """
    picture = open_photo(data)
    models_ = [models.loaded(spec) for spec in specs]
    with locks.inference_lock():
        (a, macs_a), (b, macs_b) = (trace.answer(model, picture) for model in models_)
    a, b = on_common(a, b, common_classes(a.classes, b.classes))
    small = io.BytesIO()
    ImageOps.fit(picture, (THUMBNAIL, THUMBNAIL)).save(small, "JPEG", quality=80)
    row = PhotoAgreement(name, a.top(1)[0], b.top(1)[0], agreement(a, b), macs_a.total, macs_b.total)
    return row, small.getvalue()


def forget_photo() -> None:
    """Drop all that was computed from this session's photos."""
    for key in ("prepared", "failing"):
        st.session_state.pop(key, None)
    for cached in (
        images.photo,
        images.photo_url,
        images.whole,
        inference.token_trace,
        inference.rival_trace,
        inference.peer_trace,
        timings.peer_latency,
        timings.removal_of,
        inference.prediction,
        timings.measured,
        inference.attributed_once,
    ):
        cached.clear()
