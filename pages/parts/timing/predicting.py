"""Predicted latency of settings, from what the parts of models take; see `part_times`."""

from collections.abc import Sequence

from core.config import ModelSpec
from core.latency.curve import curve_ms
from core.latency.parts import path_ms
from core.latency.schedule import schedule_ms
from core.results import Architecture
from core.results.timings import CostCurve, LatencyTable, PathCosts, StagedCosts
from core.soft_tokens.schedules import schedule_macs
from pages.server import budgets, models


def predicted_path(costs: PathCosts | StagedCosts | None, architectures: Sequence[Architecture]) -> list[float] | None:
    """Predicted milliseconds of each of these; None as long as the model's parts are not measured."""
    return None if costs is None else [path_ms(costs, found) for found in architectures]


def path_time(costs: PathCosts | StagedCosts | None, name: str, budget: float) -> float | None:
    """Predicted milliseconds at a budget in MACs; None until the model's parts are measured."""
    return None if costs is None else path_ms(costs, budgets.architecture(name, budget))


def predicted_keep(
    name: str, table: LatencyTable | CostCurve | None, keeps: Sequence[tuple[float, ...]]
) -> list[float] | None:
    """Predicted milliseconds of each of these schedules, () for dense, by this table or curve; None without one."""
    if table is None:
        return None
    found = models.loaded(ModelSpec(name))
    geometry, model = found.card.geometry, found.model
    if isinstance(table, CostCurve):
        costs = [keep and schedule_macs(geometry, model.blocks, keep, model.layers).total for keep in keeps]
        return [curve_ms(table, macs) if macs else table.dense_ms for macs in costs]
    return [schedule_ms(table, geometry, (model.blocks[: len(keep)], keep)) for keep in keeps]
