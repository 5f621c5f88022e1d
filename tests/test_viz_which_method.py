"""Which method at which budget, drawn: a line per method, a table that says why not, a tie that is called a tie."""

import dataclasses
import re

import pytest

from core.results.method_table import Attempt, MethodTable
from core.results.timings import Latency
from viz.savings import LOOKS
from viz.which_method import (
    agreement_lines,
    chart_words,
    doubt_sentence,
    leaders_sentence,
    method_table,
    times_sentence,
)


def attempt(method: str, share: float, agreeing: int, photos: int = 8, **more) -> Attempt:
    same = tuple(index < agreeing for index in range(photos))
    return Attempt(method, share, setting="--keep 0.5", macs=share * 99e6, same=same, mean_kl_nats=0.1, **more)


LATENCY = Latency(12.34, 0.6, "toaster", 2, 1, "float32", 8)
ROWS = (
    attempt("Tokens", 0.8, 8, predicted_ms=11.0, measured=LATENCY, dense_measured=LATENCY),
    attempt("Single path", 0.8, 8),
    attempt("Joint", 0.8, 7),
    attempt("ToMe", 0.8, 0),
    attempt("Tokens", 0.4, 3),
    attempt("Single path", 0.4, 4),
    Attempt("Joint", 0.4, why_not="It <cannot> be done."),
    attempt("ToMe", 0.4, 2),
)
TABLE = MethodTable("dense", 100_000_000, 8, 5, 10.0, ROWS)


def test_each_method_has_its_line_in_its_colour_with_its_own_symbol_and_dash() -> None:
    lines = agreement_lines(TABLE).data
    assert [line.name for line in lines] == ["Tokens", "Single path", "Joint", "ToMe", "Dense"]
    assert [line.line.color for line in lines[:4]] == [LOOKS[line.name][0] for line in lines[:4]]
    assert len({line.marker.symbol for line in lines}) == 5
    assert len({line.line.dash for line in lines[:4]}) == 4
    tokens, _, joint, _, dense = lines
    assert tokens.x == pytest.approx((39.6, 79.2))
    assert tokens.y == (37.5, 100)
    assert joint.y == (87.5,)
    assert (dense.x, dense.y) == ((100,), (100,))


def test_a_method_that_reaches_no_budget_has_no_line() -> None:
    table = dataclasses.replace(TABLE, rows=(*ROWS[:2], ROWS[6], *ROWS[3:6], ROWS[7]))
    assert "Joint" not in [line.name for line in agreement_lines(table).data]


def test_the_chart_is_told_in_words() -> None:
    assert chart_words(TABLE).startswith("Tokens at 80 %: 8 of 8; Single path at 80 %: 8 of 8; Joint at 80 %: 7 of 8")


def test_the_table_has_all_rows_and_says_why_not() -> None:
    html = method_table(TABLE)
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0] == ["Method", "Same answer", "MACs", "Predicted", "Measured"]
    assert cells[1] == ["80 % of dense, at most 80.0 M MACs; dense took 12.3 ms (±0.3) in the same turns"]
    assert cells[2] == ["Tokens", "<strong>8 of 8</strong>", "79.2 M<br>79.2 %", "11.0 ms", "12.3 ms (±0.3)"]
    assert cells[4][:2] == ["Joint", "7 of 8"]
    assert cells[9] == ["Joint", "It &lt;cannot&gt; be done."]
    assert 'colspan="4">It' in html


def test_without_times_the_table_has_no_columns_for_them() -> None:
    table = dataclasses.replace(TABLE, rows=ROWS[4:])
    assert "Measured" not in method_table(table)
    assert times_sentence(table) == ""
    said = times_sentence(TABLE)
    for part in ("toaster, 2 threads, batch 1, float32, torch eager", "8 passes", "dense takes 10.0 ms"):
        assert part in said
    assert "between 10.0 and 12.3 ms: the machine was busy" in said
    assert "busy" not in times_sentence(dataclasses.replace(TABLE, dense_predicted_ms=12.0))


def test_what_is_slower_than_dense_in_spite_of_its_saving_is_said_to_be() -> None:
    slow = dataclasses.replace(ROWS[0], measured=dataclasses.replace(LATENCY, median_ms=13.0))
    assert "<td>13.0 ms (±0.3)<br>slower than dense</td>" in method_table(dataclasses.replace(TABLE, rows=(slow,)))


def test_a_tie_is_called_a_tie_and_chance_is_named() -> None:
    assert leaders_sentence(TABLE) == (
        "Agrees most with dense: at 80 % a tie of **Tokens** and **Single path** (8 of 8 each; Joint with 7 may "
        "be behind by chance); at 40 % **Single path** (4 of 8; Tokens with 3 and ToMe with 2 may be behind by chance)."
    )
    assert "One photo of 8 is 12.5 points; who is not named is behind by more than chance" in doubt_sentence(TABLE)


def test_photos_that_cannot_tell_methods_apart_are_said_to() -> None:
    few = dataclasses.replace(TABLE, rows=ROWS[4:])
    assert "no lead here is beyond chance" in doubt_sentence(few)
    alike = dataclasses.replace(TABLE, answers=1)
    assert doubt_sentence(alike) == "Dense gives all 8 photos the same answer, so agreement on them tells little."
    nobody = dataclasses.replace(TABLE, rows=(ROWS[6],))
    assert leaders_sentence(nobody) == "Agrees most with dense: at 40 % no method gets there."
    assert agreement_lines(nobody).data[0].name == "Dense"
