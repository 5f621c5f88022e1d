"""What models say of a photo, each question once."""

import numpy as np
import streamlit as st

from core.baselines import trace as peers
from core.baselines.plans import Plan
from core.config import ModelSpec
from core.inference import attribution, rivals, tipping, trace
from core.results import Prediction, TokenTrace
from core.results.attributions import Attribution, Method
from pages.server import images, keeping, locks, models


@st.cache_data(max_entries=128, scope="session", show_spinner=False)
def token_trace(spec: ModelSpec, image_id: str) -> TokenTrace:
    """Which patches of the photo the model keeps."""
    model, decide = keeping.deciding(spec)
    with locks.inference_lock():
        return trace.trace_tokens(model, images.photo(image_id), decide)


@st.cache_data(max_entries=16, scope="session", show_spinner="Running the model …")
def rival_trace(spec: ModelSpec, image_id: str, rival: rivals.Rival) -> TokenTrace:
    """The photo with as many patches kept as `spec` keeps, chosen another way."""
    model, ours = keeping.deciding(spec)[0], token_trace(spec, image_id)
    with locks.inference_lock():
        return rivals.rival_trace(model, images.photo(image_id), ours, rival)


@st.cache_data(max_entries=24, scope="session", show_spinner="Running the model …")
def peer_trace(dense: str, image_id: str, plan: Plan) -> peers.PeerTrace:
    """The photo under another method on a dense model."""
    model = models.loaded(ModelSpec(dense))
    with locks.inference_lock():
        return peers.trace_peer(model, images.photo(image_id), plan)


@st.cache_data(max_entries=64, scope="session", show_spinner="Running the model …")
def prediction(spec: ModelSpec, image_id: str) -> Prediction:
    """What the model says about the photo."""
    model = models.loaded(spec)  # not under the lock: whoever loads it waits for the lock, and we would wait for them
    with locks.inference_lock():
        return trace.predict(model, images.photo(image_id))


@st.cache_data(max_entries=48, scope="session", show_spinner=False)
def attributed_once(spec: ModelSpec, image_id: str, class_index: int, method: Method) -> Attribution:
    """Which patches the answer `class_index` comes from, by one method."""
    model = models.loaded(spec)
    with locks.attribution_lock():
        return attribution.attribute(model, images.photo(image_id), class_index, method)


def decided_trace(spec: ModelSpec, image_id: str, kept: np.ndarray) -> TokenTrace:
    """The photo with decisions (S, N) taken beforehand; cached nowhere."""
    model = keeping.deciding(spec)[0]
    with locks.inference_lock():
        return tipping.trace_decided(model, images.photo(image_id), kept)
