"""What a joint model takes by its keep ratios: measured at some, read off between them."""

import pytest
import torch

from core.costs.macs import count_macs
from core.latency.curve import RATIOS, curve_ms, measure_curve, scaled_curve
from core.results.timings import CostCurve
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import keep_powers, schedule_macs
from tests.clocks import a_millisecond_per_mac
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


def test_each_time_stands_beside_the_multiply_adds_that_it_took(monkeypatch) -> None:
    model, _ = joint_model(*MIXED)
    with a_millisecond_per_mac(monkeypatch):
        curve = measure_curve(model.fold(), TINY, repeats=1)
    # torch's counter sees no products of a matrix and a vector, such as packages, but the class token in the selectors
    assert curve.ms == pytest.approx(curve.macs, rel=0.02)
    assert curve.dense_ms == pytest.approx(count_macs(TINY).total)
    keeps = sorted({keep_powers(ratio, model.patches) for ratio in RATIOS})
    assert curve.macs == tuple(schedule_macs(TINY, model.blocks, keep, model.layers).total for keep in keeps)
    assert (curve.device, curve.threads, curve.batch) == ("cpu", torch.get_num_threads(), 1)


def test_each_ratio_and_the_dense_model_run_once_to_warm_up_and_as_often_as_is_said(monkeypatch) -> None:
    model, _ = joint_model(*MIXED)
    runs, others, run = [], [], SoftTokenViT.run
    monkeypatch.setattr(SoftTokenViT, "run", lambda *given, **how: runs.append(1) or run(*given, **how))
    curve = measure_curve(model.fold(), TINY, repeats=4, between=lambda: others.append(1))
    assert len(runs) == (1 + 4) * len(curve.macs)
    assert len(others) == (1 + 4) * (len(curve.macs) + 1)
