"""The recorded evaluations on the budget page, each with its cost and, where there is one, its predicted latency."""

from collections.abc import Sequence

from core.evaluation.recorded import margin, peer_of, spec_of
from core.results import Recorded
from core.results.timings import CostCurve, LatencyTable, PathCosts
from pages.parts.shared.recorded_rows import all_rows, peer_series, rows_of
from pages.parts.timing import predicting
from pages.parts.timing.scale import Times
from viz.cost import device_text
from viz.savings import Point, Series


def recorded_series(
    dense: str | None,
    tokens: str | None,
    path: str | None,
    joint: str | None,
    times: Times,
    *,
    elsewhere: bool,
) -> list[Series]:
    """The page's models, in the order of their methods.

    Args:
        dense: The dense model.
        tokens: The model with selectors.
        path: The single-path model.
        joint: The single-path model with selectors.
        times: What latency is predicted from.
        elsewhere: That is another device, of which nothing is known for single-path models.
    """
    found = []
    if tokens and (keeps := [row for row in rows_of(tokens) if row.setting]):
        found.append(_series("Tokens", keeps, _keep_times(tokens, times.table, keeps)))
    if path and (rows := [row for row in rows_of(path) if row.setting]):
        costs = None if elsewhere else times.costs
        each = [predicting.path_time(costs, path, spec_of(row).budget) for row in rows]
        found.append(_series("Single path", rows, each))
    if joint and (rows := [row for row in rows_of(joint) if row.setting]):
        found.append(_series("Joint", rows, _keep_times(joint, times.curve, rows)))
    if dense and (rows := [row for row in rows_of(dense) if not row.setting]):
        found.append(Series("Dense", [_point(row, times.dense_ms) for row in rows], joined=False))
    return [*found, *peer_series(dense, tokens)]


def _keep_times(name: str, table: LatencyTable | CostCurve | None, rows: Sequence[Recorded]) -> Sequence[float | None]:
    """Predicted milliseconds of each row's keep ratios."""
    return predicting.predicted_keep(name, table, [spec_of(row).keep for row in rows]) or [None] * len(rows)


def _series(name: str, rows: Sequence[Recorded], each_ms: Sequence[float | None]) -> Series:
    return Series(name, [_point(row, ms) for row, ms in zip(rows, each_ms, strict=True)])


def points_table(series: Sequence[Series]) -> dict[str, list]:
    """The frontier's points by the headings of a table, for whoever cannot point at them."""
    points = [(made.name, point) for made in series for point in made.points]
    return {
        "Method": [name for name, _ in points],
        "Setting": [point.label for _, point in points],
        "M MACs per photo": [round(point.macs / 1e6, 1) for _, point in points],
        "Predicted ms": [None if point.ms is None else round(point.ms, 2) for _, point in points],
        "Top-1, %": [None if point.top1 is None else round(100 * point.top1, 1) for _, point in points],
        "By chance, ± points": [None if point.margin is None else round(100 * point.margin, 1) for _, point in points],
    }


def chance_sentence(names: Sequence[str]) -> str:
    """How the points of these models were recorded, and how far apart they must lie to mean something."""
    peers = [row for name in names for row in all_rows(name) if peer_of(row)]
    rows = [*(row for name in names for row in rows_of(name)), *peers]
    if not rows:
        return ""
    points = 100 * max(margin(row) for row in rows)
    return (
        "Top-1 accuracy is how often the first answer is right. Recorded by `python -m core evaluate` on "
        f"{max(row.images for row in rows):,} validation photos, so each "
        f"point could be {points:.1f} percentage points higher or lower by chance (95 %; the thin lines), and curves "
        "that rise and fall within that mean nothing. Between two recorded settings the accuracy is read off "
        "the straight line and called interpolated."
    )


def device_sentence(table: LatencyTable | PathCosts | CostCurve | None, *, elsewhere: bool) -> str:
    """For which device latency is predicted."""
    if table is None:
        return "Latency is predicted once the parts of the models are measured here, in a moment."
    if elsewhere:
        return f"Latency is predicted for **{device_text(table)}**, from the table that you gave, not for this machine."
    return f"Latency is predicted for this machine, from its parts measured here: {device_text(table)}."


def _point(row: Recorded, ms: float | None) -> Point:
    return Point(row.mean_macs, ms, row.top1, row.setting.removeprefix("--") or "as it is", margin(row))
