"""Words and charts of cost: units always, and honest where nothing is saved."""

import pytest

from core.results import MacCount
from core.results.timings import Latency
from viz.cost import device_text, latency_text, macs_by_part, saving_sentence
from viz.theme import macs_text, percent

DENSE = MacCount(10_000_000, 60_000_000, 0, 80_000_000, 0, 1_000_000)
PRUNED = MacCount(10_000_000, 30_000_000, 5_000_000, 40_000_000, 2_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1_253_683_200, "1.25 G MACs"),
        (78_912_345, "78.9 M MACs"),
        (151_099_392, "151 M MACs"),
        (999_700_000, "1.00 G MACs"),
        (9_996_000, "10.0 M MACs"),
        (3_072, "3.07 k MACs"),
    ],
)
def test_macs_carry_three_digits_and_a_unit(count: int, text: str) -> None:
    assert macs_text(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.414, "41 %"), (0.004, "0.4 %"), (0.0001, "< 0.1 %"), (0.0, "0 %"), (1.0, "100 %")]
)
def test_little_is_never_shown_as_nothing(share: float, text: str) -> None:
    assert percent(share) == text


def test_bars_of_parts_add_up_to_the_totals_that_are_written() -> None:
    figure = macs_by_part([("Dense", DENSE), ("Pruned", PRUNED)])
    sums = [sum(bar.x[row] for bar in figure.data) for row in range(2)]
    assert sums == pytest.approx([151, 88])
    assert [note.text.strip() for note in figure.layout.annotations] == [
        "Dense: <b>151 M MACs</b>",
        "Pruned: <b>88.0 M MACs</b>",
    ]


def test_parts_differ_by_more_than_colour() -> None:
    shapes = [bar.marker.pattern.shape for bar in macs_by_part([("Pruned", PRUNED)]).data]
    assert len(shapes) == len(set(shapes)) == 6


def test_parts_that_no_model_has_are_left_out() -> None:
    assert {bar.name for bar in macs_by_part([("Dense", DENSE)]).data} == {
        "Patch embedding",
        "Attention",
        "FFN",
        "Head",
    }


def test_latency_never_comes_without_device_threads_batch_and_spread() -> None:
    text = latency_text(Latency(3.21, 0.4, "cpu", 2, 1, "float32", 20))
    for said in ("3.2 ms", "0.4 ms from quartile to quartile", "cpu", "2 threads", "batch 1", "torch eager", "20 runs"):
        assert said in text


def test_one_thread_is_no_threads() -> None:
    assert device_text(Latency(3.21, 0.4, "cpu", 1, 4, "float32", 20)) == "cpu, 1 thread, batch 4"


def test_saving_is_said_in_percent_and_macs() -> None:
    expected = "41 % of the multiply-adds saved: 89.0 M MACs instead of 151 M MACs"
    assert saving_sentence(89_000_000, 151_000_000) == expected


def test_nothing_saved_is_said_too() -> None:
    assert saving_sentence(152_000_000, 151_000_000).startswith("Nothing saved")
