"""What can be loaded, and what is: one object for all sessions."""

from typing import Any

import streamlit as st

from core.config import ModelSpec
from core.models import load as checkpoints
from core.models import registry
from core.models.cards import ModelCard
from core.models.class_lists import with_classes
from core.single_path.blocks import read_block
from core.single_path.searched import KernelReading
from pages.server import locks


@st.cache_resource(max_entries=1, ttl=60, show_spinner=False)
def listed() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded by name; looked up again each minute, so that a new file shows."""
    return registry.list_models()


def offered() -> tuple[registry.ModelEntry, ...]:
    """What can be loaded: by name, and the weights files that this session has opened."""
    return (*listed(), *st.session_state.get("files", {}).values())


@st.cache_resource(max_entries=8, show_spinner="Loading the model …")
def load_once(spec: ModelSpec) -> checkpoints.Loaded:
    """One object for all sessions: evaluation mode, read-only."""
    if spec.keep is not None or spec.threshold is not None or spec.mass is not None:
        return checkpoints.redecided(load_once(ModelSpec(spec.name)), spec)
    if spec.budget is None:
        with locks.inference_lock():
            return checkpoints.load(spec)
    module, card = stored(spec.name)
    with locks.inference_lock():
        return checkpoints.finish(spec, card, module)


@st.cache_resource(max_entries=2, show_spinner=False)
def stored(name: str) -> tuple[Any, ModelCard]:
    """A model as its file has it: what each budget's form is made of, in a third of the time that reading takes."""
    with locks.inference_lock():
        return checkpoints.read_model(name)


def loaded(spec: ModelSpec) -> checkpoints.Loaded:
    """The model, shared by all sessions; under the class names that this session gave it, if it did."""
    names = st.session_state.get("class_names", {}).get(spec.name)
    return with_classes(load_once(spec), names[1]) if names else load_once(spec)


@st.cache_resource(max_entries=4, show_spinner=False)
def kernel_readings(name: str) -> tuple[KernelReading, ...]:
    """The convolution inside each block's attention."""
    with locks.inference_lock():
        module, card = checkpoints.read_model(name)
        return tuple(read_block(module, block) for block in range(card.geometry.depth))


@st.cache_resource(max_entries=1, show_spinner=False)
def stamps() -> dict[str, tuple[int, int]]:
    """Of each weights file that was opened by its path: when it was changed, in ns, and its bytes."""
    return {}
