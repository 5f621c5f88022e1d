"""Evaluations recorded beside the bundled models: measured once by `python -m core evaluate`, read by the app."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from core.config import PEERS, ModelSpec, Peer, with_words
from core.errors import InputError
from core.files import check_target, write_text
from core.files.json_text import json_text
from core.models.registry import ASSETS
from core.results import Recorded

RECORDED = ASSETS / "evaluations.json"
NEAR = 1e-4
"""Costs that differ by a smaller share are the same setting."""


def recorded_evaluations() -> tuple[Recorded, ...]:
    """All rows of assets/evaluations.json, in its order; none if the file is not there."""
    return read_rows(RECORDED)


def read_rows(path: Path) -> tuple[Recorded, ...]:
    """All rows of a file of recorded evaluations; none if it is not there.

    Raises:
        InputError: If it is no such file.
    """
    if not path.is_file():
        return ()
    try:
        return tuple(Recorded(**row) for row in json.loads(path.read_text())["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no recorded evaluations; name another file.") from error


def check_recorded(path: Path | None, flag: str = "--record") -> None:
    """Refuse a file that cannot take a row, before anything is evaluated; None: nothing is to be recorded.

    Raises:
        InputError: If it is something else, or cannot be written.
    """
    check_target(path, flag)
    if path is not None:
        read_rows(path)


def add_row(path: Path, row: Recorded) -> None:
    """Put one row into the file, in place of an older one of the same model and setting.

    Raises:
        InputError: If the file is something else, or cannot be written.
    """
    rows = [old for old in read_rows(path) if (old.model, old.setting) != (row.model, row.setting)]
    text = json_text({"rows": [asdict(r) for r in [*rows, row]]}, indent=1) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def spec_of(row: Recorded) -> ModelSpec | None:
    """The model and setting of a row; None where its setting is none that a spec can hold (another method, say)."""
    try:
        return with_words(ModelSpec(row.model), row.setting.split(), row.dense_macs)
    except ValueError:
        return None


def row_of(rows: Sequence[Recorded], spec: ModelSpec) -> Recorded | None:
    """What was recorded at just this setting; None if nothing was.

    Args:
        rows: Of the model of `spec`, in any order.
        spec: Without a budget: all of dense.
    """
    for row in rows:
        found = spec_of(row)
        if found and replace(found, budget=None) == replace(spec, budget=None):
            budgets = (found.budget or row.dense_macs, spec.budget or row.dense_macs)
            if math.isclose(*budgets, rel_tol=NEAR):
                return row
    return None


def peer_of(row: Recorded) -> Peer | None:
    """The other method, on dense weights, that a row is of; None for the model's own and for other choices by it."""
    words = row.setting.split()
    return next((peer for peer in PEERS if ("--method", peer) in pairwise(words)), None)


def accuracy_at(rows: Sequence[Recorded], macs: float) -> float | None:
    """Top-1 share at this cost, on the line between the two recorded neighbours; None outside of what is recorded.

    Args:
        rows: Of one model, in any order.
        macs: MACs of one image.
    """
    by_cost = sorted((row.mean_macs, row.top1) for row in rows)
    if not by_cost or not by_cost[0][0] * (1 - NEAR) <= macs <= by_cost[-1][0] * (1 + NEAR):
        return None
    costs, top1 = zip(*by_cost, strict=True)
    return float(np.interp(macs, costs, top1))


def is_recorded(rows: Sequence[Recorded], macs: float) -> bool:
    """Whether one of the rows has just this cost, within a ten-thousandth."""
    return any(math.isclose(row.mean_macs, macs, rel_tol=NEAR) for row in rows)


def margin(row: Recorded) -> float:
    """Half of the 95 % interval of a recorded top-1 share: 1.96 sqrt(p (1 - p) / n), the normal approximation."""
    return half_interval(row.top1, row.images)


def half_interval(share: float, count: int) -> float:
    """The same of a share p of n photos."""
    return 1.96 * math.sqrt(share * (1 - share) / count)
