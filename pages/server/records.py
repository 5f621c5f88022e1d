"""What was recorded of the bundled models."""

import streamlit as st

from core.config import ModelSpec
from core.evaluation.recorded import recorded_evaluations
from core.evaluation.sweep import weights_fingerprint
from core.evaluation.untrained import Record, bundled_record
from core.results import Recorded
from pages.server import models


@st.cache_resource(max_entries=1, show_spinner=False)
def evaluations() -> tuple[Recorded, ...]:
    """Recorded evaluations of the bundled models."""
    return recorded_evaluations()


@st.cache_resource(max_entries=8, show_spinner=False)
def untrained_of(name: str) -> Record | None:
    """What was recorded of pruning this very dense model untrained; None where nothing was."""
    record = bundled_record()
    if record is None or record.model != name:
        return None
    dense = models.loaded(ModelSpec(name))
    return record if record.weights == weights_fingerprint(dense.model, dense.card) else None
