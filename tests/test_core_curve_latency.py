"""What a joint model takes by its keep ratios: measured at some, read off between them."""

import pytest

from core import curve_latency
from core.curve_latency import RATIOS, curve_ms, measure_curve, scaled_curve
from core.soft_tokens.schedules import keep_powers, schedule_macs
from core.timings import CostCurve
from tests.joint import MIXED, joint_model
from tests.tiny import TINY

CURVE = CostCurve("toaster", 1, 1, (100, 200, 400), (1.0, 3.0, 4.0), 6.0)


@pytest.mark.parametrize(("macs", "ms"), [(100, 1.0), (150, 2.0), (300, 3.5), (400, 4.0), (50, 1.0), (500, 4.0)])
def test_between_two_measured_costs_a_straight_line_is_read_off_and_beyond_them_nothing_is_made_up(macs, ms) -> None:
    assert curve_ms(CURVE, macs) == ms


def test_scaling_changes_all_times_and_nothing_else() -> None:
    assert scaled_curve(CURVE, 2.0) == CostCurve("toaster", 1, 1, (100, 200, 400), (2.0, 6.0, 8.0), 12.0)


@pytest.mark.parametrize("macs", [(100, 200), (100, 100, 400), (400, 200, 100)])
def test_costs_without_a_time_each_or_that_do_not_rise_are_refused(macs) -> None:
    with pytest.raises(ValueError, match="multiply-adds must rise, with a time each"):
        CostCurve("toaster", 1, 1, macs, (1.0, 3.0, 4.0), 6.0)


def test_the_model_runs_at_each_ratio_with_as_many_multiply_adds_as_are_written_beside_its_time(monkeypatch) -> None:
    model, made = joint_model(*MIXED)
    counted = []

    def interleaved(works, repeats, device, warmup, between):
        for work in works[:-1]:
            _, stages = work.func(*work.args)
            counted.append(tuple(int(stage.kept.sum()) for stage in stages))
        return [[float(index) for index in range(len(works))]] * repeats

    monkeypatch.setattr(curve_latency, "interleaved", interleaved)
    curve = measure_curve(model.fold(), TINY)
    keeps = sorted({keep_powers(ratio, model.patches) for ratio in RATIOS})
    counts = [tuple(-(-share * TINY.patches // 1) for share in keep) for keep in keeps]
    assert counted == [tuple(map(int, count)) for count in counts]
    assert curve.macs == tuple(schedule_macs(TINY, model.blocks, keep, model.layers).total for keep in keeps)
    assert curve.ms == tuple(map(float, range(len(keeps))))
    assert curve.dense_ms == len(keeps)
    assert curve.macs[-1] > made.macs  # nothing is dropped, and selectors cost


def test_measuring_takes_time() -> None:
    model, _ = joint_model(*MIXED)
    curve = measure_curve(model.fold(), TINY, repeats=4)
    assert min(*curve.ms, curve.dense_ms) > 0
    assert (curve.device, curve.batch) == ("cpu", 1)
