"""What the budget page's component is sent: figures that say what they are, and a frontier with honest gaps."""

from dataclasses import replace

import pytest

from viz.components import Figure, Slider
from viz.peers import PEER_NAMES
from viz.savings import LOOKS, MEASURING, SCRIPT, Point, Series, Track, cost_figures, savings_data

SLIDER = Slider("Budget", 50, 50, ["50 %", "100 %"], [50, 100], "Budget, %")
POINTS = [Point(50e6, 4.0, 0.6, "50 %"), Point(100e6, 8.0, None, "100 %")]
TRACK = Track("budget", "Single path", SLIDER, [Figure("MACs", ["a", "b"], ["c", "d"])], POINTS)
SERIES = Series("Single path", [Point(50e6, 4.0, 0.6, "budget 50%"), Point(90e6, None, 0.64, "budget 90%")])


def figures(**more) -> list[Figure]:
    given = {
        "macs": [50_000_000, 110_000_000],
        "dense_macs": 100_000_000,
        "ms": [4.0, 9.0],
        "dense_ms": 8.0,
        "missing": MEASURING,
        "accuracy": [(0.6, True), (0.61, False)],
    }
    return cost_figures(**(given | more))


def test_more_than_dense_is_no_saving_and_slower_than_dense_is_said() -> None:
    macs, latency, _ = figures()
    assert macs.notes == ["50 % saved", "nothing saved"]
    assert latency.label == "Predicted latency"
    assert latency.values == ["4.0 ms", "9.0 ms"]
    assert latency.notes == ["dense 8.0 ms", "slower than dense here (8.0 ms)"]


def test_accuracy_says_whether_it_was_recorded_interpolated_or_is_unknown() -> None:
    assert figures()[2].notes == ["recorded", "interpolated"]
    unknown = figures(accuracy=[(None, False), (None, False)])[2]
    assert unknown.values == ["unknown"] * 2
    assert unknown.notes == ["nothing recorded near"] * 2


@pytest.mark.parametrize(("missing", "value"), [(MEASURING, "…"), ("not in the table of toaster", "unknown")])
def test_without_a_prediction_there_is_a_reason_and_no_number(missing, value) -> None:
    latency = figures(ms=None, dense_ms=None, missing=missing)[1]
    assert latency.values == [value] * 2
    assert latency.notes == [missing] * 2


def test_points_are_in_the_units_of_their_axes() -> None:
    sent = savings_data([TRACK], [SERIES])
    assert [p["macs"] for p in sent["series"][0]["points"]] == [50, 90]
    assert [p["top1"] for p in sent["series"][0]["points"]] == pytest.approx([60, 64])
    assert sent["tracks"][0]["points"][1]["top1"] is None
    for axis, values in (("macs", (50, 100)), ("ms", (4, 8)), ("top1", (60, 64))):
        found = sent["axes"][axis]
        assert found["low"] < values[0]
        assert values[1] < found["high"]
        assert found["title"].split(", ")[-1] in ("M MACs per photo", "ms", "%")


def test_without_predictions_there_is_no_latency_axis() -> None:
    points = [Point(50e6, None, 0.6, "x"), Point(100e6, None, None, "y")]
    track = Track("budget", "Single path", SLIDER, [], points)
    assert savings_data([track], [Series("Single path", points[:1])])["axes"]["ms"] is None


def test_methods_differ_by_symbol_not_by_colour_alone() -> None:
    assert len({symbol for _, symbol in LOOKS.values()}) == len(LOOKS)
    assert len({colour for colour, _ in LOOKS.values()}) == len(LOOKS)
    assert all(f"{symbol}:" in SCRIPT or f'"{symbol}"' in SCRIPT or symbol == "square" for _, symbol in LOOKS.values())
    assert set(PEER_NAMES.values()) < set(LOOKS)
    assert "innerHTML" not in SCRIPT


def test_rev_changes_with_the_limit() -> None:
    assert savings_data([TRACK], [SERIES])["rev"] != savings_data([TRACK], [SERIES], 5.0)["rev"]


def test_a_recorded_point_has_its_margin_in_percent_and_the_axis_room_for_it() -> None:
    point = Point(50e6, None, 0.6, "", margin=0.02)
    sent = savings_data([TRACK], [replace(SERIES, points=[point])])
    assert sent["series"][0]["points"][0]["margin"] == pytest.approx(2)
    assert sent["axes"]["top1"]["low"] < 58
    assert sent["axes"]["top1"]["high"] > 62
