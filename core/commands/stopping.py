"""Ctrl-C in the first seconds: small, so that it is in place before anything else is imported."""

import os
import signal
import sys
from types import FrameType

STOPPED = 130
"""Exit status after Ctrl-C, as of any program in a shell."""


def leave_at_once(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End this process here: for moments in which nothing can be lost, such as the imports."""
    os.write(sys.stderr.fileno(), b"\nstopped\n")
    os._exit(STOPPED)
