"""What is timed on a photo, alone on this server."""

from collections.abc import Sequence

import streamlit as st

from core.baselines import trace as peers
from core.baselines.plans import Plan
from core.config import ModelSpec
from core.inference import removal
from core.latency import measure as latency
from core.latency.engines import Runner
from core.photos.image import to_tensor
from core.results.timings import EAGER, Latency
from pages.server import images, keeping, locks, models


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring: other visitors wait …")
def peer_latency(spec: ModelSpec, dense: str, image_id: str, plans: tuple[Plan, ...], turn: int) -> tuple[Latency, ...]:
    """Dense, pruned and each plan on the photo, taking turns; another `turn` measures again."""
    (pruned, decide), model = keeping.deciding(spec), models.loaded(ModelSpec(dense))
    with locks.alone():
        return peers.peer_latency(model, pruned, decide, images.photo(image_id), plans)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring: other visitors wait …")
def removal_of(spec: ModelSpec, image_id: str, turn: int) -> removal.Removal:
    """Masked against removed tokens on the photo; another `turn` measures again."""
    model, decide = keeping.deciding(spec)
    with locks.alone():
        return removal.compare_removal(model, to_tensor(images.photo(image_id), model.card), decide)


@st.cache_data(max_entries=16, scope="session", show_spinner="Measuring: other visitors wait …")
def measured(
    specs: tuple[ModelSpec, ...], image_id: str, turn: int, engine: str = EAGER, _ready: Sequence[Runner] = ()
) -> tuple[Latency, ...]:
    """Latency of each model on the photo, taking turns; another `turn` measures again.

    In eager torch, and behind those, for another engine, in that: as `_ready` for it.
    """
    models_ = [models.loaded(spec) for spec in specs]
    engines_ = [EAGER] * len(specs) + [engine] * len(_ready)
    with locks.alone():
        return latency.measure_latency(
            [*(m.model for m in models_), *_ready], to_tensor(images.photo(image_id), models_[0].card), engine=engines_
        )
