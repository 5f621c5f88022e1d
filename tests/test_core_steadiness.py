"""What noise does to measured times: the swing of passes, and sequences that must not fall."""

import time

import numpy as np
import pytest

from core.latency.measure import CPU, interleaved
from core.latency.steadiness import rising, swing


def test_swing_is_the_middle_half_of_the_passes_over_their_median() -> None:
    times = np.array([[8.0, 1.0], [10.0, 1.0], [14.0, 1.0]])  # quartiles of the first: 9, 10, 12
    assert swing(times) == pytest.approx((10 / 11, 13 / 11))
    assert swing(np.full((3, 4), 2.0)) == (1.0, 1.0)


def test_where_other_work_holds_the_processor_the_quiet_time_is_what_was_computed() -> None:
    steady = np.full((3, 2), 4.0)
    assert swing(steady, [(1.0, 4.0), (2.0, 2.0)]) == (0.5, 1.0)
    spent: list[tuple[float, float]] = []
    interleaved([lambda: time.sleep(0.05)], 2, CPU, 0, spent=spent)  # another's turn, as it were
    assert len(spent) == 2
    assert swing(np.ones((2, 1)), spent)[0] < 0.5


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([3, 1, 2], [2, 2, 2]),
        ([1, 4, 2, 3, 9], [1, 3, 3, 3, 9]),
        ([5, 4, 6, 1], [4, 4, 4, 4]),
        ([], []),
    ],
)
def test_what_falls_gets_its_mean_and_what_rises_stays(values: list[float], wanted: list[float]) -> None:
    assert rising(values) == pytest.approx(wanted)


def test_rising_is_the_greatest_of_the_least_means() -> None:
    values = np.random.default_rng(0).normal(np.arange(12) / 3, 1)
    wanted = [  # another way to the same, Barlow et al. 1972: slow, and plain
        max(min(values[i : j + 1].mean() for j in range(k, 12)) for i in range(k + 1)) for k in range(12)
    ]
    assert rising(values.tolist()) == pytest.approx(wanted)
    assert wanted != pytest.approx(values)
