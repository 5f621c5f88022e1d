"""Clocks in place of the machine's, so that what is measured is known and does not depend on load."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch.utils.flop_counter import FlopCounterMode

from core.latency import measure as latency


class HandClock:
    """It moves when it is told to, and by `step_s` whenever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_s: float = 0.0) -> None:
        """Everything is timed by it from now on."""
        self.now, self.step_s = 0.0, step_s
        monkeypatch.setattr(latency, "clock", self)

    def __call__(self) -> float:
        """Seconds."""
        self.now += self.step_s
        return self.now

    def taking(self, ms: float, note: Callable[[], object] = lambda: None) -> Callable[..., None]:
        """Work that takes so long, and notes that it was done."""

        def work(*_: object) -> None:
            self.now += ms / 1e3
            note()

        return work


@contextmanager
def a_millisecond_per_mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A multiply-add takes a millisecond, and nothing else takes any: torch counts them as they are done."""
    with FlopCounterMode(display=False) as counter, monkeypatch.context() as patched:
        patched.setattr(latency, "clock", lambda: counter.get_total_flops() / 2e3)
        yield


def is_free(lock: threading.RLock) -> bool:
    """Whether another thread could take it."""
    found: list[bool] = []

    def ask() -> None:
        found.append(lock.acquire(blocking=False))
        if found[0]:
            lock.release()

    asker = threading.Thread(target=ask)
    asker.start()
    asker.join()
    return found[0]
