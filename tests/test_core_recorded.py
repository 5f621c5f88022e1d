"""Recorded evaluations read off, and the largest setting within a limit: by hand."""

from dataclasses import replace

import pytest

from core.config import ModelSpec
from core.evaluation.recorded import accuracy_at, is_recorded, margin, peer_of, row_of, spec_of
from core.latency.limit import largest_within
from core.results import Recorded

ROW = Recorded("m", "--budget 50%", 0.6, 0.9, 50e6, 100_000_000, 2400)
ROWS = [replace(ROW, mean_macs=90e6, top1=0.8), ROW]


def test_between_two_recorded_settings_lies_the_straight_line() -> None:
    assert accuracy_at(ROWS, 60e6) == pytest.approx(0.65)
    assert accuracy_at(ROWS, 50e6) == pytest.approx(0.6)


@pytest.mark.parametrize("macs", [49e6, 91e6])
def test_outside_of_what_is_recorded_nothing_is_read_off(macs) -> None:
    assert accuracy_at(ROWS, macs) is None


def test_without_rows_nothing_is_known() -> None:
    assert accuracy_at([], 50e6) is None
    assert not is_recorded([], 50e6)


def test_a_setting_is_recorded_only_where_its_cost_is() -> None:
    assert is_recorded(ROWS, 50e6 + 100)
    assert not is_recorded(ROWS, 51e6)


@pytest.mark.parametrize(
    ("setting", "spec"),
    [
        ("", ModelSpec("m")),
        ("--budget 50%", ModelSpec("m", budget=50e6)),
        ("--keep 0.5,0.25", ModelSpec("m", keep=(0.5, 0.25))),
        ("--keep 0.5,0.25 --method random", None),
        ("--keep much", None),
        ("--threshold 0.5", ModelSpec("m", threshold=0.5)),
        ("--blocks 3,6 --mass 0.9", ModelSpec("m", blocks=(3, 6), mass=0.9)),
    ],
)
def test_a_rows_setting_becomes_a_spec_where_it_can(setting, spec) -> None:
    assert spec_of(replace(ROW, setting=setting)) == spec


@pytest.mark.parametrize(
    ("setting", "peer"),
    [
        ("--method tome", "tome"),
        ("--keep 0.5,0.25 --method evit --dense mine.safetensors", "evit"),
        ("--budget 50% --method random-dense", "random-dense"),
        ("--method random", None),
        ("--keep 0.5", None),
        ("", None),
    ],
)
def test_a_row_of_another_method_is_told_and_is_no_setting_of_the_model(setting, peer) -> None:
    assert peer_of(replace(ROW, setting=setting)) == peer
    assert peer is None or spec_of(replace(ROW, setting=setting)) is None


def test_margin_is_that_of_a_share_of_n() -> None:
    assert margin(ROW) == pytest.approx(1.96 * 0.01)  # sqrt(0.6 * 0.4 / 2400) = 0.01


@pytest.mark.parametrize(("limit", "at"), [(0.9, None), (1.0, 0), (2.5, 1), (3.0, 3), (99.0, 4)])
def test_the_largest_setting_within_the_limit_is_found_even_where_times_waver(limit, at) -> None:
    assert largest_within([1.0, 2.0, 3.5, 3.0, 4.0], limit) == at


@pytest.mark.parametrize(
    ("spec", "top1"),
    [
        (ModelSpec("m", budget=50e6), 0.6),
        (ModelSpec("m", budget=51e6), None),
        (ModelSpec("m"), 0.8),
        (ModelSpec("m", keep=(0.5, 0.25)), 0.7),
        (ModelSpec("m", keep=(0.5, 0.2)), None),
        (ModelSpec("m", threshold=0.5), None),
    ],
)
def test_only_what_was_recorded_at_just_this_setting_is_its_accuracy(spec, top1) -> None:
    whole, kept = replace(ROW, setting="", top1=0.8), replace(ROW, setting="--keep 0.5,0.25", top1=0.7)
    other = replace(ROW, setting="--keep 0.5,0.2 --method random", top1=0.1)
    found = row_of([other, ROW, whole, kept], spec)
    assert (found and found.top1) == top1
