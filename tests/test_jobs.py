"""Work beside the pages: begun once, watched, ended, told; by workers that run when the test says so."""

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from core.errors import InputError
from pages.server.jobs import Cancelled, Handle, Jobs, Standing


class Workers(list):
    """What was to run beside the caller, run when the test says so."""

    def run(self) -> None:
        """All of them, one after the other."""
        while self:
            self.pop(0)()


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def jobs(workers: Workers) -> Jobs:
    """One at a time."""
    return Jobs(spawn=workers.append)


def does(work: Callable[[Handle], object]) -> Callable[[], Callable[[Handle], object]]:
    """What makes this work."""
    return lambda: work


def gives(value: object, calls: list | None = None) -> Callable[[], Callable[[Handle], object]]:
    """What makes work that finds `value`, and is noted in `calls`."""
    return does(lambda handle: (calls is not None and calls.append(value)) or value)


def fails(error: BaseException) -> Callable[[], Callable[[Handle], object]]:
    """What makes work that ends in an error."""

    def work(handle: Handle) -> None:
        raise error

    return does(work)


def test_a_job_runs_once_however_many_ask_and_its_result_is_for_all(jobs, workers) -> None:
    calls = []
    for who in ("ann", "bob", "ann"):
        jobs.ask("a", who, gives(1, calls))
    assert jobs.standing("a") == Standing("waiting")
    workers.run()
    assert jobs.ask("a", "cy", gives(2, calls)) == Standing("done", result=1)
    assert calls == [1]


def test_one_that_waits_tells_how_many_end_before_it(jobs, workers) -> None:
    seen = []
    jobs.ask("a", "ann", does(lambda handle: seen.extend(jobs.standing(key).before for key in "bc")))
    for key in "bc":
        jobs.ask(key, "ann", gives(key))
    assert [jobs.standing(key).before for key in "abc"] == [0, 1, 2]
    assert len(workers) == 1, "one at a time"
    workers.run()
    assert seen == [1, 2], "the one that runs counts"
    assert [jobs.result(key) for key in "bc"] == ["b", "c"]


def test_two_at_once_are_two_workers_and_the_third_waits(workers) -> None:
    jobs = Jobs(at_once=2, spawn=workers.append)
    for key in "abc":
        jobs.ask(key, "ann", gives(key))
    assert len(workers) == 2
    workers.pop()()
    assert [jobs.result(key) for key in "abc"] == ["a", "b", "c"], "who is free takes what waits"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("There is no compiler; install one."), "There is no compiler; install one."),
        (RuntimeError("no memory left"), "no memory left"),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "3"),
    ],
)
def test_a_failure_is_told_and_the_next_job_runs(jobs, workers, error, sentence) -> None:
    jobs.ask("a", "ann", fails(error))
    jobs.ask("b", "ann", gives(1))
    workers.run()
    assert jobs.standing("a") == Standing("failed", failure=sentence)
    assert jobs.result("b") == 1


def test_what_failed_runs_again_for_a_newcomer_or_on_request_and_not_by_itself(jobs, workers) -> None:
    calls = []

    def fail(handle: Handle) -> None:
        calls.append("tried")
        raise InputError("No.")

    jobs.ask("a", "ann", does(fail))
    workers.run()
    jobs.ask("a", "ann", does(fail))
    workers.run()
    assert calls == ["tried"], "whoever was told is not told again each second"
    jobs.ask("a", "bob", does(fail))
    workers.run()
    assert len(calls) == 2, "another may have more luck"
    jobs.ask("a", "ann", gives(7), again=True)
    workers.run()
    assert jobs.result("a") == 7


def test_a_job_that_waits_is_cancelled_before_it_begins(jobs, workers) -> None:
    calls = []
    jobs.ask("a", "ann", gives(1, calls))
    jobs.cancel("a")
    assert jobs.standing("a") == Standing("cancelled")
    workers.run()
    assert calls == []


def test_a_job_that_runs_is_told_to_end_and_ends_at_its_next_look(jobs, workers) -> None:
    told = []

    def work(handle: Handle) -> None:
        handle.at_end(lambda: told.append("end"))
        handle.check()
        jobs.cancel("a")
        assert jobs.standing("a").state == "ending"
        jobs.cancel("a")
        handle.check()

    jobs.ask("a", "ann", does(work))
    workers.run()
    assert jobs.standing("a") == Standing("cancelled")
    assert told == ["end"], "once"


def test_what_breaks_because_it_was_told_to_end_has_not_failed(jobs, workers) -> None:
    def work(handle: Handle) -> None:
        jobs.cancel("a")
        raise RuntimeError("the process was killed")

    jobs.ask("a", "ann", does(work))
    workers.run()
    assert jobs.standing("a") == Standing("cancelled")


def test_whoever_hears_late_that_a_job_is_to_end_hears_it_at_once() -> None:
    handle, told = Handle(), []
    handle.end()
    handle.at_end(lambda: told.append("end"))
    assert told == ["end"]
    with pytest.raises(Cancelled):
        handle.check()


def test_a_result_of_what_changed_meanwhile_is_dropped_and_the_next_who_looks_has_it_done_anew(jobs, workers) -> None:
    def old(handle: Handle) -> str:
        jobs.forget(lambda key: key == "model")  # its file is written anew while it is measured
        assert jobs.standing("model") is None, "who looks now finds nothing, and asks"
        jobs.ask("model", "ann", gives("of the new file"))
        return "of the old file"

    jobs.ask("model", "ann", does(old))
    workers.run()
    assert jobs.result("model") == "of the new file"


def test_what_was_found_of_a_file_that_changed_afterwards_is_dropped_too_and_nothing_else(jobs, workers) -> None:
    for key in ("model", "other"):
        jobs.ask(key, "ann", gives(key))
    workers.run()
    jobs.forget(lambda key: key == "model")
    assert jobs.standing("model") is None
    assert jobs.result("other") == "other"


def test_whoever_leaves_frees_what_nobody_else_has_asked_for(jobs, workers) -> None:
    calls = []
    jobs.ask("a", "ann", does(lambda handle: jobs.leave("ann")))
    jobs.ask("hers", "ann", gives("hers", calls))
    jobs.ask("both", "ann", gives("both", calls))
    jobs.ask("both", "bob", gives("both", calls))
    workers.run()
    assert calls == ["both"]
    assert jobs.standing("hers") is None
    assert jobs.asked_by("ann") == ()


def test_whoever_looks_at_something_else_keeps_that(jobs, workers) -> None:
    for key in ("a", "b"):
        jobs.ask(key, "ann", gives(key))
    jobs.leave("ann", but=lambda key: key == "b")
    workers.run()
    assert jobs.asked_by("ann") == ("b",)
    assert jobs.result("b") == "b"


def test_nothing_is_taken_away_while_somebody_looks_at_it_and_the_oldest_goes_when_nobody_does(workers) -> None:
    jobs = Jobs(most=2, spawn=workers.append)
    for key in "abc":
        jobs.ask(key, "ann", gives(key))
    workers.run()
    assert [jobs.result(key) for key in "abc"] == ["a", "b", "c"]
    jobs.ask("a", "bob", gives("a"))
    jobs.leave("ann")
    assert [jobs.result(key) for key in "abc"] == ["a", None, "c"], "bob still looks at the oldest"


def test_what_nobody_asks_for_any_more_and_somebody_asks_for_again_while_it_ends_is_done_anew(jobs, workers) -> None:
    def work(handle: Handle) -> str:
        jobs.leave("ann")
        jobs.ask("a", "bob", gives("for bob"))
        return "for ann"

    jobs.ask("a", "ann", does(work))
    workers.run()
    assert jobs.result("a") == "for bob"


def test_what_does_a_job_is_made_only_where_it_has_to_be_done(jobs, workers) -> None:
    made = []

    def make() -> Callable[[Handle], int]:
        made.append(1)
        return lambda handle: 1

    for who in ("ann", "bob"):
        jobs.ask("a", who, make)
        workers.run()
    assert made == [1]


def test_of_two_who_ask_at_once_the_first_in_line_does_it_for_both(jobs, workers) -> None:
    made = []

    def make() -> Callable[[Handle], int]:
        made.append(1)
        if len(made) == 1:
            jobs.ask("a", "bob", gives("bob's"))
        return lambda handle: "ann's"

    jobs.ask("a", "ann", make)
    workers.run()
    assert jobs.result("a") == "bob's", "who is first in line does it"


def test_a_job_tells_how_long_ago_it_was_asked_for(workers) -> None:
    now = [5.0]
    jobs = Jobs(spawn=workers.append, clock=lambda: now[0])
    jobs.ask("a", "ann", gives(1))
    now[0] = 12.0
    assert jobs.standing("a").age_s == 7


def test_where_no_thread_is_left_a_job_begins_when_it_is_asked_for_again(workers) -> None:
    tries = []

    def spawn(work: Callable[[], None]) -> None:
        tries.append(work)
        if len(tries) == 1:
            raise RuntimeError("can't start new thread")
        work()

    jobs = Jobs(spawn=spawn)
    assert jobs.ask("a", "ann", gives(1)).state == "waiting"
    jobs.wait()
    jobs.ask("a", "ann", gives(1))
    assert jobs.result("a") == 1


def test_jobs_run_in_threads_of_their_own_where_nothing_else_is_said() -> None:
    jobs, ran, go = Jobs(), threading.Event(), threading.Event()

    def work(handle: Handle) -> None:
        go.wait()
        ran.set()

    jobs.ask("a", "ann", does(work))
    assert jobs.standing("a").under_way
    go.set()
    jobs.wait()
    assert ran.is_set()
    assert jobs.standing("a").state == "done"


def test_what_is_over_holds_nothing_of_what_it_worked_on(jobs, workers) -> None:
    class Photo:
        """Somebody's."""

    def made(state: str) -> Callable[[], Callable[[Handle], object]]:
        photo = Photo()
        photos.append(weakref.ref(photo))

        def work(handle: Handle) -> None:
            if state == "failed":
                raise InputError(repr(type(photo)))

        return does(work)

    photos: list[weakref.ref] = []
    for state in ("done", "failed", "cancelled"):
        jobs.ask(state, "ann", made(state))
    jobs.cancel("cancelled")
    workers.run()
    assert [jobs.standing(state).state for state in ("done", "failed", "cancelled")] == ["done", "failed", "cancelled"]
    gc.collect()
    assert [photo() for photo in photos] == [None] * 3
