"""What both methods keep of the dense model with nothing trained, recorded, as points on the budget page's frontier."""

from core.evaluation.recorded import half_interval
from core.evaluation.untrained import RANKED, SCORED, Record
from pages.server import records
from viz.savings import UNTRAINED, Point, Series

NAMES = {RANKED: f"Tokens{UNTRAINED}", SCORED: f"Single path{UNTRAINED}"}
DEEP = 0.25
"""Points further below the dense model stand in the table alone: their scale would hide the others."""


def untrained_series(dense: str | None) -> list[Series]:
    """Both methods untrained, where that was recorded of just this dense model; their latency is nowhere predicted."""
    record = _record(dense)
    if record is None:
        return []
    macs = record.dense_macs
    found = {
        name: [
            Point(row.macs_share * macs, None, row.top1, row.setting, half_interval(row.top1, row.images))
            for row in record.rows
            if row.way == way
        ]
        for way, name in NAMES.items()
    }
    return [Series(name, points, hollow=True) for name, points in found.items() if points]


def _record(dense: str | None) -> Record | None:
    return records.untrained_of(dense) if dense else None


def drawn(series: list[Series], dense: str | None) -> list[Series]:
    """The same without untrained points that lie deep below the dense model."""
    record = _record(dense)
    if record is None:
        return series
    least = record.dense_top1 - DEEP
    return [
        Series(made.name, [point for point in made.points if (point.top1 or 0) >= least], made.joined, hollow=True)
        if made.hollow
        else made
        for made in series
    ]


def untrained_sentence(series: list[Series], dense: str | None) -> str:
    """What hollow marks are; nothing where there are none."""
    record = _record(dense)
    if record is None or not any(made.hollow for made in series):
        return ""
    deep = sum(len(made.points) for made in series) - sum(len(made.points) for made in drawn(series, dense))
    below = f" {deep} that lie more than {DEEP * 100:.0f} points below dense are in the table alone." if deep else ""
    return (
        f" Hollow marks: nothing was trained; recorded by `python -m core untrained` on {record.images:,} photos, of "
        f"which the dense model has {record.dense_top1:.1%} right.{below}"
    )
