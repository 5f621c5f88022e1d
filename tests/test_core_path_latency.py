"""Latency of single-path architectures foretold: the sum by hand, and what is measured leaves the model alone."""

import dataclasses

import pytest
import torch

from core.curve_latency import measure_curve
from core.latency import interleaved
from core.path_latency import block_ms, measure_path, path_ms
from core.results import Architecture
from core.table_bench import measure_table
from core.timings import PathCosts
from tests.tiny import TINY, images, single_path_model, token_model

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


def test_others_may_pass_before_every_timing() -> None:
    passed = []
    interleaved([lambda: None] * 3, 4, torch.device("cpu"), 2, lambda: passed.append(1))
    assert len(passed) == 3 + 3 * 4  # each one's warm-up, and each timed call
    for measure, given in (
        (measure_path, single_path_model().backbone),
        (measure_curve, token_model().fold()),
        (measure_table, token_model()),
    ):
        passed.clear()
        measure(given, TINY, between=lambda: passed.append(1))
        assert passed


def test_measuring_covers_every_mixer_and_width_and_leaves_the_model_as_it_was() -> None:
    model = single_path_model()
    before = model(images(2))
    costs = measure_path(model.backbone, TINY)
    assert set(costs.mixer_ms) == {"msa", "conv3x3", "conv1x1", "skip"}
    assert costs.ffn_hidden == (0, 16, 32, 48, 64)
    assert costs.rest_ms > 0
    assert costs.mixer_ms["msa"] > 0
    assert (costs.batch, costs.threads) == (1, torch.get_num_threads())
    torch.testing.assert_close(model(images(2)), before)
