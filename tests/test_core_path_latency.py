"""Latency of single-path architectures predicted: the sum by hand, and what is measured leaves the model alone."""

import dataclasses

import numpy as np
import pytest
import torch

from core.costs.macs import count_macs
from core.latency import parts as path_latency
from core.latency.parts import block_ms, measure_path, path_ms
from core.results import Architecture
from core.results.timings import PathCosts, StagedCosts
from core.single_path.derive import derive, gates_of
from tests.clocks import HandClock, a_millisecond_per_mac
from tests.tiny import TINY, images, single_path_model
from tests.tiny_swin import SWIN, swin_path_model

COSTS = PathCosts(
    "toaster", 1, 1, {"msa": 4.0, "conv3x3": 3.0, "conv1x1": 2.0, "skip": 1.0}, (0, 4, 8), (0.0, 2.0, 3.0), 10.0
)
MADE = Architecture(("msa", "conv3x3", "skip"), (8, 2, 0), (8, 8, 8), 50, 100)


def test_prediction_is_the_rest_and_each_blocks_mixer_and_ffn() -> None:
    assert block_ms(COSTS, MADE) == [4 + 3, 3 + 1, 1 + 0]  # 2 of 4 hidden units: half of the 2 ms for 4
    assert path_ms(COSTS, MADE) == 10 + 7 + 4 + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"ffn_hidden": (1, 4, 8)},
        {"ffn_hidden": (0, 8, 4)},
        {"ffn_ms": (0.0, 2.0)},
        {"rest_ms": -1.0},
        {"mixer_ms": {"msa": float("nan")}},
    ],
)
def test_costs_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"FFN widths|numbers of 0"):
        dataclasses.replace(COSTS, **wrong)


def test_parts_add_up_to_what_the_whole_model_takes(monkeypatch) -> None:
    monkeypatch.setattr(path_latency, "REPEATS", (1, 1))
    model = single_path_model()
    with a_millisecond_per_mac(monkeypatch):
        costs = measure_path(model.backbone, TINY)
    for share in (0.4, 0.6, 0.8, 1.0):
        chosen = derive(gates_of(model, TINY), share * count_macs(TINY).total)
        assert path_ms(costs, chosen) == pytest.approx(chosen.macs)


def test_parts_of_each_stage_add_up_too(monkeypatch) -> None:
    monkeypatch.setattr(path_latency, "REPEATS", (1, 1))
    monkeypatch.setattr(path_latency, "QUARTERS", (0.0, 1.0))
    model = swin_path_model()
    before = model(images(1))
    chosen = derive(gates_of(model, SWIN), 0.6 * count_macs(SWIN).total)
    with a_millisecond_per_mac(monkeypatch):
        costs = measure_path(model.backbone, SWIN)
    assert isinstance(costs, StagedCosts)
    assert [stage.ffn_hidden[-1] for stage in costs.stages] == [32, 64, 128]
    assert costs.depths == SWIN.depths
    assert path_ms(costs, chosen) == pytest.approx(chosen.macs)
    torch.testing.assert_close(model(images(1)), before)


@pytest.mark.parametrize(("round_ms", "repeats"), [(1.0, 12), (100.0, 9), (5000.0, 3)])
def test_all_timed_passes_together_take_what_one_waits_for_or_the_fewest_are_made(
    round_ms, repeats, monkeypatch
) -> None:
    """A round of all nine kinds of network: 900 ms are 9 of 100 ms; but never under 3 nor over 12."""
    asked = []

    def interleaved(works, count, device, warmup, *, between=None, spent=None):
        asked.append((count, warmup, between))
        return np.full((count, len(works)), round_ms / len(works))

    monkeypatch.setattr(path_latency, "interleaved", interleaved)
    measure_path(single_path_model().backbone, TINY, between=print)
    assert asked == [(1, 1, print), (repeats, 0, print)]


def test_measuring_covers_every_mixer_and_width_and_leaves_the_model_as_it_was(monkeypatch) -> None:
    HandClock(monkeypatch, step_s=1)
    model = single_path_model()
    before = model(images(2))
    costs = measure_path(model.backbone, TINY)
    assert set(costs.mixer_ms) == {"msa", "conv3x3", "conv1x1", "skip"}
    assert costs.ffn_hidden == (0, 16, 32, 48, 64)
    assert costs.rest_ms == pytest.approx(1000)
    assert (costs.batch, costs.threads) == (1, torch.get_num_threads())
    torch.testing.assert_close(model(images(2)), before)
