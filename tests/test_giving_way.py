"""Between two timings: nothing is timed while pages run, who uses them passes, and it ends. The clock is ours."""

import threading
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from pages.server.giving_way import LOOK_S, PATIENCE_S, QUIET_S, GivingWay, stepped_aside
from pages.server.jobs import Cancelled, Handle
from pages.server.line import Line


class Clock:
    """Goes on only while somebody sleeps; then calls what a test wants to happen meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.meanwhile()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def locks() -> tuple[Line, ...]:
    return Line(), Line(), Line()


def giving_way(clock: Clock, locks: tuple[Line, ...], ran_at: Callable[[], float], handle: Handle | None = None):
    """As a measurement that was asked for at 100 s has it."""
    return GivingWay(handle or Handle(), locks, ran_at, 100.0 + PATIENCE_S, clock, clock.sleep)


def held(locks: tuple[Line, ...]) -> list[int]:
    """How many stand in each line."""
    return [len(lock) for lock in locks]


def test_where_nothing_stirs_timings_follow_each_other_at_once_and_the_locks_are_kept(clock, locks) -> None:
    seen = []
    with locks[0], locks[1], locks[2]:
        giving_way(clock, locks, lambda: seen.append(held(locks)) or clock.now - QUIET_S)()
        assert held(locks) == [1, 1, 1]
    assert seen == [[1, 1, 1]], "looked at once, while the locks are held"
    assert clock.slept == 0


def test_a_page_that_has_just_run_puts_a_timing_off_until_it_is_quiet(clock, locks) -> None:
    with locks[0], locks[1], locks[2]:
        giving_way(clock, locks, lambda: 100.0)()
    assert QUIET_S <= clock.slept < QUIET_S + 2 * LOOK_S


def test_patience_is_one_for_all_timings_however_many_there_are(clock, locks) -> None:
    between = giving_way(clock, locks, lambda: clock.now)  # somebody is always there
    with locks[0], locks[1], locks[2]:
        between()
        first = clock.slept
        for _ in range(50):
            between()
    assert PATIENCE_S <= first < PATIENCE_S + 2 * LOOK_S
    assert clock.slept == first


def test_whoever_came_late_in_line_finds_no_patience_left(clock, locks) -> None:
    """Three models that are measured one after the other wait together as long as one."""
    clock.now += PATIENCE_S
    with locks[0], locks[1], locks[2]:
        giving_way(clock, locks, lambda: clock.now)()
    assert clock.slept == 0


def test_who_uses_the_pages_passes_meanwhile_and_no_other_measurement(clock, locks) -> None:
    seen = []
    clock.meanwhile = lambda: seen.append(held(locks))
    with locks[0], locks[1], locks[2]:
        giving_way(clock, locks, lambda: 100.0)()
        assert held(locks) == [1, 1, 1], "taken back"
    assert set(map(tuple, seen)) == {(1, 0, 0)}


def test_those_in_line_have_their_turn_before_it_is_taken_back(locks) -> None:
    order, waits = [], threading.Event()

    locks = (*locks[:2], Line(lambda before: waits.set() or nullcontext()))

    def page() -> None:
        with locks[2]:
            order.append("page")

    with locks[0], locks[1], locks[2]:
        thread = threading.Thread(target=page, daemon=True)
        thread.start()
        waits.wait()
        with stepped_aside(locks):
            pass
        order.append("timing")
    thread.join()
    assert order == ["page", "timing"]


def test_a_measurement_that_is_to_end_ends_while_it_gives_way_and_holds_nothing_up(clock, locks) -> None:
    handle = Handle()
    clock.meanwhile = handle.end
    with pytest.raises(Cancelled), locks[0], locks[1], locks[2]:
        giving_way(clock, locks, lambda: clock.now, handle)()
    assert held(locks) == [0, 0, 0]
    assert clock.slept == LOOK_S
