"""Predicted latency: the parts of a model are measured here once, after the page stands, and then added up."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from core.checkpoints import read_model
from core.config import ModelSpec
from core.path_latency import measure_path, path_ms
from core.results import Architecture
from core.soft_tokens.latency_schedule import schedule_ms
from core.table_bench import measure_table
from core.timings import LatencyTable, PathCosts
from pages import _models, _paths, _runs

SHORT_TABLE = {"repeats": 3, "points": 9}
"""How a latency table is measured here: a short form, since somebody waits for it."""


def measure_after_paint(*names: str) -> None:
    """Last line of a page that shows predicted latency: measure one model that is missing, and show the page again.

    Args:
        names: Models with selectors, and single-path models.
    """
    missing = [name for name in names if name not in _runs.measured_parts()]
    if not missing:
        return
    measure = _measurement(missing[0])
    with _models.alone():
        if missing[0] not in _runs.measured_parts():  # nobody else did meanwhile
            _runs.measured_parts()[missing[0]] = measure()
    st.rerun()


def _measurement(name: str) -> Callable[[], PathCosts | LatencyTable]:
    """What measures the model's parts; it is loaded here, before anybody waits."""
    found = _models.loaded(ModelSpec(name))
    if found.method == "tokens":
        return partial(measure_table, found.model, found.card.geometry, **SHORT_TABLE)
    module, card = read_model(name)
    return partial(measure_path, module.eval().backbone, card.geometry)


def forget_parts(*names: str | None) -> None:
    """Measure the parts of these models again: the machine may have been busy the first time."""
    for name in names:
        _runs.measured_parts().pop(name, None)


def path_costs(name: str) -> PathCosts | None:
    """What the parts of a single-path model take here; None until they are measured."""
    return _runs.measured_parts().get(name)


def token_table(name: str) -> LatencyTable | None:
    """Latency of a block by tokens here, for a model with selectors; None until it is measured."""
    return _runs.measured_parts().get(name)


def predicted_path(name: str, step: float) -> list[float] | None:
    """Predicted milliseconds of all budgets, `step` percent apart; None until the parts are measured."""
    costs = path_costs(name)
    return None if costs is None else [path_ms(costs, found) for found in _paths.all_budgets(name, step)]


def path_time(name: str, budget: float) -> float | None:
    """Predicted milliseconds at a budget in MACs; None until the parts are measured."""
    costs = path_costs(name)
    return None if costs is None else path_ms(costs, _paths.architecture(name, budget))


def dense_path(name: str) -> Architecture:
    """A single-path model with all of its gates open."""
    return _paths.architecture(name, _models.loaded(ModelSpec(name)).dense_macs)


def predicted_keep(name: str, table: LatencyTable | None, keeps: Sequence[tuple[float, ...]]) -> list[float] | None:
    """Predicted milliseconds of each of these schedules, () for dense, by this table; None without one."""
    if table is None:
        return None
    found = _models.loaded(ModelSpec(name))
    blocks = found.model.blocks
    return [schedule_ms(table, found.card.geometry, (blocks[: len(keep)], keep)) for keep in keeps]
