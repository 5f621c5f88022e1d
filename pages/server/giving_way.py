"""What a measurement does between two timings: it lets those pass who use the pages, for a while. No Streamlit here."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from pages.server.jobs import Handle

QUIET_S = 0.4
"""So long before a timing no page has begun or drawn a chart, lest either slow the other."""
PATIENCE_S = 10.0
"""The most that is waited for that in all, from when the measurement was asked for: somebody looks at its note."""
LOOK_S = 0.02


@dataclass
class GivingWay:
    """Called between two timings, while the locks are held."""

    handle: Handle
    """Of the job that measures."""
    locks: Sequence[AbstractContextManager]
    """Held by this thread, in the order in which they were taken."""
    ran_at: Callable[[], float]
    """When a page last began or drew a chart, by the clock."""
    until: float
    """When patience ends, by the clock."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep

    def __call__(self) -> None:
        """Go on at once where nothing stirs; else step aside until nothing does.

        Raises:
            Cancelled: If the measurement is to end.
        """
        self.handle.check()
        if self._quiet():
            return
        with stepped_aside(self.locks):
            while not self._quiet():
                self.handle.check()
                self.sleep(LOOK_S)

    def _quiet(self) -> bool:
        """Whether a timing may begin."""
        return self.clock() >= min(self.ran_at() + QUIET_S, self.until)


@contextmanager
def stepped_aside(locks: Sequence[AbstractContextManager]) -> Iterator[None]:
    """Let others have these locks, which are held, all but the first; then wait for them again, in their order."""
    for lock in reversed(locks[1:]):
        lock.__exit__(None, None, None)
    try:
        yield
    finally:
        for lock in locks[1:]:
            lock.__enter__()
