"""Evaluations recorded beside the bundled models: measured once by `python -m core evaluate`, read by the app."""

import json
from dataclasses import dataclass

from core.registry import ASSETS


@dataclass(frozen=True)
class Recorded:
    """One recorded evaluation."""

    model: str
    setting: str
    """As on the command line, such as "--keep 0.5,0.3,0.2"; empty for the model's own."""
    top1: float
    top5: float
    mean_macs: float
    dense_macs: int
    images: int


def recorded_evaluations() -> tuple[Recorded, ...]:
    """All rows of assets/evaluations.json, in its order; none if the file is not there."""
    path = ASSETS / "evaluations.json"
    if not path.is_file():
        return ()
    return tuple(Recorded(**row) for row in json.loads(path.read_text())["rows"])
