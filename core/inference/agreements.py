"""How far one model follows another: on one photo, and over many."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.results import Guess, Prediction


@dataclass(frozen=True)
class Agreement:
    """How far prediction B follows prediction A."""

    same_top1: bool
    """Both have the same first answer."""
    kl_nats: float
    """KL(A || B) over all classes: 0 if they agree in everything."""
    rank_in_b: int
    """Where B ranks A's first answer; 1 is first."""


@dataclass(frozen=True, eq=False)
class PhotoAgreement:
    """What A and B made of one photo of many."""

    name: str
    """What the person calls the file."""
    first_a: Guess
    first_b: Guess
    agreement: Agreement
    macs_a: int
    macs_b: int


@dataclass(frozen=True)
class Summary:
    """Many photos in three numbers."""

    photos: int
    agreeing: int
    """Photos with the same first answer."""
    mean_kl_nats: float
    mean_saved: float
    """Mean over the photos of 1 - MACs of B / MACs of A; below 0 where B costs more."""


def agreement(a: Prediction, b: Prediction) -> Agreement:
    """Compare two predictions over the same classes.

    Raises:
        ValueError: If the classes differ.
    """
    if a.classes != b.classes:
        raise ValueError("the two predictions are not over the same classes")
    p, q = np.float64(a.probs), np.float64(b.probs)
    kl = float(np.sum(p * (np.log(np.maximum(p, 1e-12)) - np.log(np.maximum(q, 1e-12)))))
    first = int(p.argmax())
    return Agreement(first == int(q.argmax()), max(kl, 0.0), int(ranks(b)[first]))


def ranks(prediction: Prediction) -> np.ndarray:
    """Rank of each class, int (C,), from 1, likeliest first; ties as in `Prediction.top`."""
    order = np.argsort(-prediction.probs, kind="stable")
    ranked = np.empty_like(order)
    ranked[order] = np.arange(1, len(order) + 1)
    return ranked


def summary(rows: Sequence[PhotoAgreement]) -> Summary:
    """Of at least one photo."""
    return Summary(
        len(rows),
        sum(row.agreement.same_top1 for row in rows),
        float(np.mean([row.agreement.kl_nats for row in rows])),
        float(np.mean([1 - row.macs_b / row.macs_a for row in rows])),
    )


def changed_first(rows: Sequence[PhotoAgreement]) -> list[PhotoAgreement]:
    """Photos on which B has another first answer, then the others; within each, the largest KL first."""
    return sorted(rows, key=lambda row: (row.agreement.same_top1, -row.agreement.kl_nats))


COLUMNS = (
    *("photo", "{a}_answer", "{a}_prob", "{b}_answer", "{b}_prob"),
    *("same", "kl_nats", "rank_in_{b}", "{a}_macs", "{b}_macs"),
)


def to_csv(rows: Sequence[PhotoAgreement], names: tuple[str, str] = ("A", "B")) -> str:
    """One line per photo under a line of names; shares are fractions of 1, costs multiply-adds.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.

    Args:
        rows: What was found.
        names: What A and B are called; in small letters in the names of the columns.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    a_name, b_name = (name.lower() for name in names)
    writer.writerow([column.format(a=a_name, b=b_name) for column in COLUMNS])
    for row in rows:
        a, b, found = row.first_a, row.first_b, row.agreement
        cells = (row.name, a.label, f"{a.prob:.4f}", b.label, f"{b.prob:.4f}")
        cells += (int(found.same_top1), f"{found.kl_nats:.5f}", found.rank_in_b, row.macs_a, row.macs_b)
        writer.writerow([f"'{c}" if isinstance(c, str) and c[:1] in "=+-@\t\r" and c else c for c in cells])
    return out.getvalue()
