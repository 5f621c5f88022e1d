"""A lock that goes to one after the other in the order in which they came, and tells each how many are before it."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Tell = Callable[[int], AbstractContextManager]
"""How many are before somebody, to what is shown until that changes."""


def _silent(before: int) -> AbstractContextManager:
    return nullcontext()


class Line:
    """For `with`, and again inside it by the same thread."""

    def __init__(self, tell: Tell = _silent) -> None:
        """Nobody stands in it.

        Args:
            tell: What whoever waits is shown.
        """
        self._tell = tell
        self._moved = threading.Condition()
        self._line: list[int] = []
        """Threads, in their order; the first one has the lock."""
        self._depth = 0

    def __len__(self) -> int:
        """How many stand in it, with the one that has the lock."""
        return len(self._line)

    def __enter__(self) -> None:
        """Wait for one's turn."""
        me = threading.get_ident()
        with self._moved:
            if self._line[:1] == [me]:
                self._depth += 1
                return
            self._line.append(me)
        try:
            while before := self._line.index(me):
                with self._tell(before), self._moved:
                    self._moved.wait_for(lambda before=before: self._line.index(me) != before)
        except BaseException:  # such as Streamlit's, where the page that waits is run again
            with self._moved:
                self._line.remove(me)
                self._moved.notify_all()
            raise
        self._depth = 1

    def __exit__(self, *error: object) -> None:
        """Let the next one have it."""
        with self._moved:
            self._depth -= 1
            if not self._depth:
                self._line.pop(0)
                self._moved.notify_all()
