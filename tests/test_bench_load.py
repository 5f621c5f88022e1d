"""The simulation of many visitors, against cases that can be worked out by hand."""

import numpy as np
import pytest

from tests.bench_load import THINK_S, simulated


@pytest.mark.parametrize(("people", "servers"), [(1, 1), (4, 4)])
def test_who_has_a_server_alone_waits_for_the_own_service_and_no_longer(people, servers) -> None:
    assert simulated(np.array([0.5]), people, servers) == pytest.approx((0.5, 0.5))


def test_where_service_takes_far_longer_than_thinking_everybody_waits_for_everybody() -> None:
    median, late = simulated(np.array([100 * THINK_S]), 5, 1)  # four before, and the own
    assert median == pytest.approx(500 * THINK_S, rel=0.02)
    assert late <= 500 * THINK_S


def test_more_servers_never_make_people_wait_longer() -> None:
    times = np.array([0.2, 0.3, 1.0])
    waits = [simulated(times, 60, servers)[1] for servers in (1, 2, 6)]
    assert waits == sorted(waits, reverse=True)
