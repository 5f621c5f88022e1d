"""Work that goes on beside the pages: begun once for all visitors, watched, ended, and told when it fails.

Knows nothing of Streamlit: a page asks, looks at how it stands, and shows that.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from core.errors import InputError

Result = TypeVar("Result")
State = Literal["waiting", "running", "ending", "done", "failed", "cancelled"]
UNDER_WAY = ("waiting", "running", "ending")
OVER = ("ending", "failed", "cancelled")
"""Nothing comes of it any more."""


class Cancelled(Exception):
    """Raised by work that was told to end."""


class Handle:
    """What work has of the job that it is: whether it is to end, and a way to hear of it."""

    def __init__(self) -> None:
        """Of a job that is to go on."""
        self._lock = threading.Lock()
        self._ended = False
        self._calls: list[Callable[[], object]] = []

    def check(self) -> None:
        """To be called now and then.

        Raises:
            Cancelled: If the job is to end.
        """
        if self._ended:
            raise Cancelled

    def at_end(self, call: Callable[[], object]) -> None:
        """Have `call` called once when the job is told to end; at once where it has been."""
        with self._lock:
            if not self._ended:
                self._calls.append(call)
                return
        call()

    def end(self) -> None:
        """Tell the job to end."""
        with self._lock:
            self._ended, calls, self._calls = True, self._calls, []
        for call in calls:
            call()


Work = Callable[[Handle], Result]
"""Runs in a thread of its own; what it raises is what is told: the sentence of an InputError, or else its text."""


@dataclass(frozen=True)
class Standing(Generic[Result]):
    """How one job stands."""

    state: State
    before: int = 0
    """Jobs that end before this one begins, while it waits."""
    result: Result | None = None
    """Once it is done."""
    failure: str | None = None
    """Once it has failed: why."""
    age_s: float = field(default=0.0, compare=False)
    """Seconds since it was asked for."""

    @property
    def under_way(self) -> bool:
        """Whether it has still to end."""
        return self.state in UNDER_WAY


@dataclass(eq=False)
class _Job(Generic[Result]):
    work: Work | None
    """None once it is over: it may hold somebody's photos."""
    asked_at: float
    handle: Handle = field(default_factory=Handle)
    state: State = "waiting"
    result: Result | None = None
    failure: str | None = None
    askers: set[str] = field(default_factory=set)


class Jobs(Generic[Result]):
    """Jobs by key. Each runs once, however many ask; what nobody asks for any more ends."""

    def __init__(
        self,
        *,
        at_once: int = 1,
        most: int = 1000,
        spawn: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None yet.

        Args:
            at_once: So many run at a time; the others wait, in the order in which they were asked for.
            most: So many that have ended are kept; the oldest go first, but none that somebody has asked for.
            spawn: Runs a function beside the caller; None: in a thread of its own.
            clock: Tells seconds.
        """
        self._at_once, self._most = at_once, most
        self._spawn = spawn or (lambda work: threading.Thread(target=work, daemon=True).start())
        self._clock = clock
        self._lock = threading.Condition()
        self._jobs: dict[Hashable, _Job[Result]] = {}  # in the order in which they were asked for
        self._workers = 0

    def ask(self, key: Hashable, who: str, make: Callable[[], Work], *, again: bool = False) -> Standing[Result]:
        """Have the job done, unless it is or is being done; for all who ask for it.

        Args:
            key: What it is.
            who: Asks for it, until `leave`.
            make: Gives what does it; called here, and only where the job has to be done.
            again: Do it also where it failed or was cancelled before; whoever had no part in that need not say so.
        """
        work = make() if self._to_do(key, who, again) else None  # without the lock: it may load a model
        with self._lock:
            if work is not None and self._to_do(key, who, again):  # it goes to the end of the line
                askers = self._jobs.pop(key).askers if key in self._jobs else set()
                self._jobs[key] = _Job(work, self._clock(), askers=askers)
            elif key not in self._jobs:
                return self.ask(key, who, make, again=again)  # forgotten in this moment
            self._jobs[key].askers.add(who)
            self._tidy()
            spawn = self._jobs[key].state == "waiting" and self._workers < self._at_once
            self._workers += spawn
            found = self.standing(key)
        if spawn:
            self._begin()
        return found

    def _begin(self) -> None:
        """Have one more worker; where the machine has no thread left, what waits begins when it is asked for again."""
        try:
            self._spawn(self._work_off)
        except RuntimeError:
            with self._lock:
                self._workers -= 1
                self._lock.notify_all()

    def _to_do(self, key: Hashable, who: str, again: bool) -> bool:
        """Whether the job has to be put in line."""
        with self._lock:
            job = self._jobs.get(key)
            return job is None or (job.state in OVER and (again or who not in job.askers))

    @property
    def under_way(self) -> int:
        """How many have still to end."""
        with self._lock:
            return sum(job.state in UNDER_WAY for job in self._jobs.values())

    def standing(self, key: Hashable) -> Standing[Result] | None:
        """How a job stands; None where nobody has asked for it, or it was forgotten since."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                return None
            before = 0
            if job.state == "waiting":
                ahead = list(self._jobs.values())
                ahead = ahead[: ahead.index(job)]
                running = sum(other.state in ("running", "ending") for other in self._jobs.values())
                before = running + sum(other.state == "waiting" for other in ahead)
            return Standing(job.state, before, job.result, job.failure, self._clock() - job.asked_at)

    def result(self, key: Hashable) -> Result | None:
        """What a job has found; None until it is done."""
        found = self.standing(key)
        return None if found is None else found.result

    def asked_by(self, who: str) -> tuple[Hashable, ...]:
        """Keys that somebody has asked for."""
        with self._lock:
            return tuple(key for key, job in self._jobs.items() if who in job.askers)

    def wait(self) -> None:
        """Wait until nothing is under way."""
        with self._lock:
            self._lock.wait_for(lambda: not self._workers)

    def cancel(self, key: Hashable) -> None:
        """End a job, for everybody who has asked for it; one that has ended stays as it is."""
        with self._lock:
            ending = self._ending(key) if key in self._jobs else []
        for handle in ending:
            handle.end()

    def _ending(self, key: Hashable) -> list[Handle]:
        """Take a job out of the line, or give its handle, to be told to end, where it runs."""
        job = self._jobs[key]
        if job.state == "waiting":
            job.state, job.work = "cancelled", None
        if job.state != "running":
            return []
        job.state = "ending"
        return [job.handle]

    def forget(self, match: Callable[[Hashable], bool]) -> None:
        """Drop these jobs, and what comes of those that run: what they are about has changed.

        They stand nowhere then, so whoever looks finds nothing and asks anew.
        """
        with self._lock:
            dropped = [self._jobs.pop(key) for key in [key for key in self._jobs if match(key)]]
        for job in dropped:
            job.handle.end()

    def leave(self, who: str, *, but: Callable[[Hashable], bool] = lambda key: False) -> None:
        """Somebody asks no longer, except for jobs of these keys; what nobody else has asked for ends."""
        with self._lock:
            left = [key for key, job in self._jobs.items() if who in job.askers and not but(key)]
            for key in left:
                self._jobs[key].askers.discard(who)
            ending = [handle for key in left if not self._jobs[key].askers for handle in self._ending(key)]
            self._tidy()
        for handle in ending:
            handle.end()

    def _tidy(self) -> None:
        """Take away what is over and nobody has asked for: failures at once, results beyond the most."""
        idle = [key for key, job in self._jobs.items() if not job.askers and job.state not in UNDER_WAY]
        done = [key for key in idle if self._jobs[key].state == "done"]
        ended = sum(job.state == "done" for job in self._jobs.values())
        for key in [*(key for key in idle if key not in done), *done[: max(0, ended - self._most)]]:
            del self._jobs[key]

    def _work_off(self) -> None:
        """In a thread of its own: one job after the other, until none waits."""
        while True:
            with self._lock:
                job = next((job for job in self._jobs.values() if job.state == "waiting"), None)
                if job is None:
                    self._workers -= 1
                    self._lock.notify_all()
                    return
                job.state = "running"
            result, failure, state, work = None, None, "done", job.work
            try:
                result = work(job.handle)
            except Cancelled:
                state = "cancelled"
            except InputError as error:
                state, failure = "failed", str(error)
            except BaseException as error:  # a thread that dies silently would be waited for for ever
                state, failure = "failed", str(error) or type(error).__name__
            del work
            with self._lock:  # in any case the end of one that was forgotten is seen by nobody
                job.work = None
                job.state = "cancelled" if job.state == "ending" and state == "failed" else state
                job.result, job.failure = result, None if job.state == "cancelled" else failure
                self._tidy()
