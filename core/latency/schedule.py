"""A schedule for a latency limit: where selectors stand and what each keeps, from a latency table.

Kong et al. 2022, arXiv:2112.13890, latency-aware training; their code has nothing of it.
"""

from collections.abc import Callable, Sequence

from core.costs.geometry import Geometry
from core.errors import InputError
from core.latency.table import check_table, predicted_ms
from core.results.timings import LatencyTable, Schedule
from core.soft_tokens.schedules import schedule_tokens

FIRST = 3
"""The first blocks are never pruned."""
STEP = 0.1
"""By which a block's keep ratio is lowered at a time."""
LEAST = 0.1
"""Lowest keep ratio."""
DROPS = (0.005, 0.01, 0.02, 0.04, 0.08, 1.0)
"""Accuracy that may be lost, as shares: half a point as published; more only where the limit is not met by then."""
ALIKE = 0.085
"""Neighbouring blocks whose ratios differ by less share one selector."""
HALVINGS = 30

Ratios = tuple[float, ...]
Stages = tuple[tuple[int, ...], tuple[float, ...]]
"""Blocks before which selectors stand, and their keep ratios."""


def schedule_ms(table: LatencyTable, geometry: Geometry, stages: Stages) -> float:
    """Predicted milliseconds of one pass with this schedule, selectors and packages included."""
    tokens, seen = schedule_tokens(geometry, *stages)
    return predicted_ms(table, tokens, [every + geometry.prefix_tokens for every, _ in seen])


def merge(ratios: Sequence[float]) -> Stages:
    """Stages of neighbouring blocks with ratios alike, each with the mean of theirs; blocks that keep all have none.

    Args:
        ratios: Per block, L of them, never rising.
    """
    groups: list[list[int]] = []
    for block, ratio in enumerate(ratios):
        if ratio >= 1:
            continue
        if groups and ratios[groups[-1][0]] - ratio < ALIKE:
            groups[-1].append(block)
        else:
            groups.append([block])
    keep = [sum(ratios[b] for b in group) / len(group) for group in groups]
    return tuple(group[0] for group in groups), tuple(round(share, 4) for share in keep)


def choose_schedule(
    table: LatencyTable,
    geometry: Geometry,
    limit_ms: float,
    accuracy: Callable[[Stages], float],
    on_try: Callable[[int, float], None] | None = None,
) -> Schedule:
    """From the last block to the first, lower keep ratios while accuracy allows, until the limit is met.

    The limit is then used up: all ratios are raised to one power, so that the prediction comes just under it.

    Args:
        table: Of the device that the limit is for.
        geometry: Of the dense model.
        limit_ms: For one pass of the table's batch.
        accuracy: Top-1 on held-out photos of the dense model with these stages, in [0, 1]; no stages: dense.
        on_try: Called with the block at work and the milliseconds reached.

    Raises:
        InputError: If the table is of another model or has gaps, or the limit is outside of what is possible.
    """
    check_table(table, geometry)
    dense_ms = schedule_ms(table, geometry, ((), ()))
    lowest = schedule_ms(table, geometry, merge([1.0] * FIRST + [LEAST] * (geometry.depth - FIRST)))
    if not limit_ms >= lowest:
        raise InputError(
            f"A limit of {limit_ms:.4g} ms is under what is possible: by this table the least is {lowest:.4g} ms, with "
            f"{LEAST:.0%} of the patches kept from block {FIRST + 1} on; dense takes {dense_ms:.4g} ms."
        )
    if limit_ms >= dense_ms:
        raise InputError(f"By this table the dense model takes {dense_ms:.4g} ms, which is within {limit_ms:.4g} ms.")
    dense = accuracy(((), ()))
    ratios = _lower(table, geometry, limit_ms, accuracy, dense, on_try)
    stages = _use_up(table, geometry, limit_ms, merge(ratios))
    return Schedule(
        *stages,
        asked_ms=limit_ms,
        predicted_ms=schedule_ms(table, geometry, stages),
        dense_ms=dense_ms,
        accuracy=accuracy(stages),
        dense_accuracy=dense,
    )


def _lower(
    table: LatencyTable,
    geometry: Geometry,
    limit_ms: float,
    accuracy: Callable[[Stages], float],
    dense: float,
    on_try: Callable[[int, float], None] | None,
) -> Ratios:
    ratios: Ratios = (1.0,) * geometry.depth
    for drop in DROPS:
        for block in reversed(range(FIRST, geometry.depth)):
            while ratios[block] - STEP > LEAST - 1e-9:
                lower = round(ratios[block] - STEP, 4)
                tried = (*ratios[:block], *(min(ratio, lower) for ratio in ratios[block:]))
                if drop < 1 and accuracy(merge(tried)) < dense - drop:
                    break
                ratios = tried
                reached = schedule_ms(table, geometry, merge(ratios))
                if on_try is not None:
                    on_try(block, reached)
                if reached <= limit_ms:
                    return ratios
    return ratios


def _use_up(table: LatencyTable, geometry: Geometry, limit_ms: float, stages: Stages) -> Stages:
    """The same stages with all ratios to the power that comes nearest to the limit from below."""
    blocks, keep = stages
    low, high = 0.0, 4.0  # towards 0 everything is kept

    def at(power: float) -> Stages:
        return blocks, tuple(max(LEAST, round(share**power, 4)) for share in keep)

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if schedule_ms(table, geometry, at(middle)) <= limit_ms else (middle, high)
    return at(high)
