"""What budgets make of single-path models, kept for all sessions."""

from collections.abc import Sequence
from functools import cache

import streamlit as st

from core import checkpoints
from core.config import ModelSpec
from core.results import (
    Architecture,
    GateHistory,
    KernelReading,
    MacCount,
)
from core.single_path.blocks import block_count, read_block
from core.single_path.derive import budget_range, derive
from core.single_path.history import history_file, read_history
from core.soft_tokens.schedules import schedule_macs
from pages import _models, _runs


@st.cache_data(max_entries=256, show_spinner=False)
def architecture(name: str, budget: float) -> Architecture:
    """What a budget in MACs derives from a single-path model's gates."""
    return derive(_models.loaded(ModelSpec(name)).gates, budget)


@st.cache_data(max_entries=8, show_spinner=False)
def reachable(name: str) -> tuple[int, int]:
    """Smallest and dense MACs of a single-path model."""
    return budget_range(_models.loaded(ModelSpec(name)).gates)


def lowest_share(name: str) -> int:
    """The smallest budget that a single-path model takes, in percent of dense: trained for, or else reachable."""
    budgets = _models.loaded(ModelSpec(name)).card.single_path.budgets
    least, dense = reachable(name)
    return round(100 * budgets[0]) if budgets else -(-100 * least // dense)


@st.cache_resource(max_entries=8, show_spinner=False)
def all_budgets(name: str, step: float) -> tuple[Architecture, ...]:
    """What each budget derives, from the lowest to the dense network, `step` percent apart; frozen, so not copied."""
    loaded_ = _models.loaded(ModelSpec(name))
    low = lowest_share(name)
    shares = [low + step * i for i in range(round((100 - low) / step) + 1)]
    return tuple(derive(loaded_.gates, loaded_.dense_macs * share / 100) for share in shares)


@st.cache_resource(max_entries=4, show_spinner=False)
def kernel_readings(name: str) -> tuple[KernelReading, ...]:
    """The convolution inside each block's attention."""
    with _models.inference_lock():
        module, card = checkpoints.read_model(name)
        return tuple(read_block(module, block) for block in range(card.geometry.depth))


@st.cache_resource(max_entries=4, show_spinner=False)
def gate_history(name: str) -> GateHistory | None:
    """How the gates moved in the search, if that was kept beside the weights."""
    path = checkpoints.file_of(name)
    return None if path is None else read_history(history_file(path), _models.loaded(ModelSpec(name)).card.geometry)


@st.cache_resource(max_entries=32, show_spinner=False)
def over_search(name: str, budget: float) -> tuple[Architecture, ...]:
    """What this budget would have derived at each moment of the search."""
    history = gate_history(name)
    return () if history is None else tuple(derive(history.at(i), budget) for i in range(len(history.epochs)))


def block_counts(name: str, found: Architecture, block: int) -> tuple[MacCount, MacCount]:
    """Multiply-adds of one block by part: dense, and in this architecture."""
    geometry = _models.loaded(ModelSpec(name)).card.geometry
    return (
        block_count(geometry, "msa", geometry.ffn_hidden),
        block_count(geometry, found.mixers[block], found.ffn_hidden[block]),
    )


def block_macs(name: str, all_found: Sequence[Architecture]) -> list[list[int]]:
    """Multiply-adds of each block of each architecture, mixer and FFN together."""
    geometry = _models.loaded(ModelSpec(name)).card.geometry
    count = cache(lambda mixer, hidden: block_count(geometry, mixer, hidden).total)
    return [[count(*kind) for kind in zip(found.mixers, found.ffn_hidden, strict=True)] for found in all_found]


@st.cache_data(max_entries=8, show_spinner=False)
def keep_macs(name: str, ratios: tuple[float, ...]) -> list[int]:
    """Multiply-adds of any photo at each of these keep ratios of every selector."""
    found = _models.loaded(ModelSpec(name))
    return [schedule_macs(found.card.geometry, found.model.blocks, _runs.keep_spec(name, r).keep).total for r in ratios]
