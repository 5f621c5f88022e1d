"""What budgets derive from a single-path model, now and over its search."""

import streamlit as st

from core.config import ModelSpec
from core.models import load as checkpoints
from core.results import Architecture
from core.single_path.derive import budget_range, derive
from core.single_path.history import history_file, read_history
from core.single_path.searched import GateHistory, Gates
from pages.server import models


@st.cache_data(max_entries=256, show_spinner=False)
def architecture(name: str, budget: float) -> Architecture:
    """What a budget in MACs derives from a single-path model's gates."""
    return derive(models.loaded(ModelSpec(name)).gates, budget)


@st.cache_data(max_entries=8, show_spinner=False)
def reachable(name: str) -> tuple[int, int]:
    """Smallest and dense MACs of a single-path model."""
    return budget_range(models.loaded(ModelSpec(name)).gates)


def lowest_share(name: str) -> int:
    """The smallest budget that a single-path model takes, in percent of dense: trained for, or else reachable."""
    budgets = models.loaded(ModelSpec(name)).card.single_path.budgets
    least, dense = reachable(name)
    return round(100 * budgets[0]) if budgets else -(-100 * least // dense)


@st.cache_resource(max_entries=8, show_spinner=False)
def all_budgets(name: str, step: float) -> tuple[Architecture, ...]:
    """What each budget derives, from the lowest to the dense network, `step` percent apart; frozen, so not copied."""
    loaded_ = models.loaded(ModelSpec(name))
    low = lowest_share(name)
    shares = [low + step * i for i in range(round((100 - low) / step) + 1)]
    return tuple(derive(loaded_.gates, loaded_.dense_macs * share / 100) for share in shares)


@st.cache_resource(max_entries=4, show_spinner=False)
def gate_history(name: str) -> GateHistory | None:
    """How the gates moved in the search, if that was kept beside the weights."""
    path = checkpoints.file_of(name)
    return None if path is None else read_history(history_file(path), models.loaded(ModelSpec(name)).card.geometry)


@st.cache_resource(max_entries=4, show_spinner=False)
def moments(name: str) -> tuple[Gates, ...]:
    """The gates at each moment of the search; none where no history was kept."""
    history = gate_history(name)
    return () if history is None else tuple(history.at(i) for i in range(len(history.epochs)))


@st.cache_resource(max_entries=32, show_spinner=False)
def over_search(name: str, budget: float) -> tuple[Architecture, ...]:
    """What this budget would have derived at each moment of the search."""
    return tuple(derive(gates, budget) for gates in moments(name))
