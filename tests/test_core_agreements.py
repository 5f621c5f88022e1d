"""Many photos: counted, ordered and written as a table, on numbers worked out by hand."""

import csv
import io

import pytest

from core.inference.agreements import Agreement, PhotoAgreement, changed_first, summary, to_csv
from core.results import Guess


def row(name: str, same: bool, kl: float, macs_b: int, label: str = "cat") -> PhotoAgreement:
    first = Guess(label, None, 0.75, 0), Guess(label if same else "dog", None, 0.5, 1)
    return PhotoAgreement(name, *first, Agreement(same, kl, 1 if same else 3), 100, macs_b)


ROWS = [
    row("a.jpg", True, 0.1, 50),
    row("b.jpg", False, 0.2, 60),
    row("c.jpg", True, 0.3, 70),
    row("d.jpg", False, 0.4, 80),
]


def test_summary_counts_agreement_and_averages_kl_and_macs_saved() -> None:
    found = summary(ROWS)
    assert (found.photos, found.agreeing) == (4, 2)
    assert found.mean_kl_nats == pytest.approx(0.25)
    assert found.mean_saved == pytest.approx((0.5 + 0.4 + 0.3 + 0.2) / 4)


def test_changed_photos_come_first_and_the_largest_kl_before_the_smaller() -> None:
    assert [r.name for r in changed_first(ROWS)] == ["d.jpg", "b.jpg", "c.jpg", "a.jpg"]


def test_csv_has_a_line_per_photo_with_fractions_and_multiply_adds() -> None:
    lines = to_csv(ROWS[1:2]).splitlines()
    assert lines[0] == "photo,a_answer,a_prob,b_answer,b_prob,same,kl_nats,rank_in_b,a_macs,b_macs"
    assert lines[1] == "b.jpg,cat,0.7500,dog,0.5000,0,0.20000,3,100,60"
    assert len(lines) == 2


def test_csv_gives_a_spreadsheet_no_formula_and_survives_odd_names() -> None:
    odd = ['=HYPERLINK("http://x")', "+1", "-1", "@x", 'a,"b"\n.jpg', ""]
    read = list(csv.reader(io.StringIO(to_csv([row(name, True, 0.0, 1, label="=1+1") for name in odd]))))
    assert [line[0] for line in read[1:]] == ["'" + name for name in odd[:4]] + odd[4:]
    assert {line[1] for line in read[1:]} == {"'=1+1"}


def test_csv_names_its_columns_after_what_the_models_are_called() -> None:
    head = to_csv(ROWS[:1], ("Dense", "Pruned")).splitlines()[0]
    assert head == (
        "photo,dense_answer,dense_prob,pruned_answer,pruned_prob,same,kl_nats,rank_in_pruned,dense_macs,pruned_macs"
    )
