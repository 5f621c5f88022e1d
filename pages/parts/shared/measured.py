"""What was measured in this session of models at settings: it stands where a prediction stood."""

from collections.abc import Mapping

import streamlit as st

from core.config import ModelSpec
from core.results.timings import Latency

_KEY = "measured latencies"
PANEL = "latency here"
"""What a panel that measures keeps its turns under."""


def remember(found: Mapping[ModelSpec, Latency]) -> bool:
    """Keep each model's latest measurement, in eager torch; whether anything of it is new."""
    kept = st.session_state.setdefault(_KEY, {})
    new = {spec.name: (spec, latency) for spec, latency in found.items()}
    if all(kept.get(name) == each for name, each in new.items()):
        return False
    kept.update(new)
    return True


def latest(name: str | None) -> tuple[ModelSpec, Latency] | None:
    """At which setting a model was measured last, and what it took; None: it was not."""
    return st.session_state.get(_KEY, {}).get(name)


def forget() -> None:
    """Predictions stand again, until somebody measures anew."""
    st.session_state.pop(_KEY, None)
    turns = st.session_state.get("turns", {})
    for key in [key for key in turns if key[0] == PANEL]:
        del turns[key]
