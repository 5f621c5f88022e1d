"""How a command ends when it does not reach its end: Ctrl-C, and what a person must be told in one sentence."""

import errno
import hashlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from safetensors import SafetensorError

from core.commands.stopping import leave_at_once
from core.errors import InputError
from core.files import disk_reason

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors of which a disk is the cause, wherever they are raised."""
LOADER = re.compile(r"DataLoader worker|Pin memory thread")
FILES = re.compile(r"received 0 items of ancdata|Too many open files")
MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
OTHERS = re.compile(r"gloo|NCCL|TCPStore|Connection (closed|reset)|Socket", re.IGNORECASE)


class UnwrittenError(InputError):
    """A result that could not be written where it was to go; it is printed all the same."""

    def __init__(self, message: str, result: dict, text: str) -> None:
        """Args: the sentence; what the command would have returned."""
        super().__init__(message)
        self.result, self.text = result, text


@contextmanager
def printed_anyway(result: dict, text: str) -> Iterator[None]:
    """Write a result to a file within this; if that fails, the command prints it, says why, and exits 2.

    Raises:
        UnwrittenError: If what is within raises InputError, or what a full disk raises.
    """
    try:
        yield
    except (InputError, OSError, SafetensorError) as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise UnwrittenError(sentence, result, text) from error


class Interrupts:
    """Within this, the first Ctrl-C raises KeyboardInterrupt and the second one ends the process.

    `pressed` tells whether there was one: code in between may turn a KeyboardInterrupt into another exception, and
    loader processes that die may raise theirs first. Processes that are forked off do not react: their parent ends
    them. Where Ctrl-C is ignored from outside (`nohup`, a shell's `&`), it stays so.
    """

    def __init__(self) -> None:
        """Nothing has been pressed."""
        self.pressed = False
        self._own = os.getpid()
        self._again: threading.Timer | None = None

    def __enter__(self) -> "Interrupts":
        """Take over, in the main thread; elsewhere Python delivers no signals."""
        self._before = None
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._before = signal.signal(signal.SIGINT, self._press)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back."""
        if self._again is not None:
            self._again.cancel()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            sys.unraisablehook = self._hook

    def _press(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._own:
            return
        if self.pressed:
            leave_at_once()
        self.pressed = True
        raise KeyboardInterrupt

    def _unraisable(self, what: "sys.UnraisableHookArgs") -> None:
        """An interrupt that hit a destructor, which cannot raise it, comes again behind it."""
        if self.pressed and isinstance(what.exc_value, KeyboardInterrupt):
            self.pressed = False
            self._again = threading.Timer(0.05, os.kill, (self._own, signal.SIGINT))  # once this hook has returned
            self._again.start()
        elif not self.pressed:
            self._hook(what)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started within this never see Ctrl-C; whoever starts them ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def sentence_of(error: Exception) -> str | None:
    """What to tell a person of an exception that ended a command; None for a bug of ours."""
    told = str(error).strip()
    if isinstance(error, InputError):  # one that a loader process raised carries its traceback; the last line is it
        return re.sub(r"^[\w.]+Error: ", "", told.splitlines()[-1]) if told else "Something is wrong."
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and MEMORY.search(told)):
        return "Memory ran out; try a smaller --batch, or fewer --workers."
    if isinstance(error, RuntimeError | OSError) and FILES.search(told):
        return "Too many files are open; try fewer --workers, or allow more with `ulimit -n 4096`."
    reason = None if isinstance(error, OSError) and error.errno not in DISK else disk_reason(error)
    if reason is not None:
        where = getattr(error, "filename", None) or "A file"
        return f"{where} cannot be written ({reason}); make room, or name another place."
    if isinstance(error, RuntimeError) and LOADER.search(told):
        how = re.search(r"killed by signal: ([\w ]+)", told)
        by = f" (killed by signal: {how[1].strip()})" if how else ""
        return f"A process that reads photos has died{by}, maybe of too little memory; try fewer --workers, or 0."
    if _together() and isinstance(error, RuntimeError | ConnectionError) and OTHERS.search(told):
        return "Another process of this run has ended; what it said is the reason."
    return None


def tell(sentence: str) -> None:
    """Say why the command ends, on stderr: of several processes whichever fails, each sentence once."""
    if os.environ.get("LOCAL_RANK", "0") == "0" and not _together():  # all fail alike; one on each machine speaks
        _say(sentence)
    elif _together() and _is_new(sentence):
        rank = os.environ.get("RANK", "0")
        _say(sentence if rank == "0" else f"{sentence} (process {rank})")


def _say(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr, flush=True)


def _together() -> bool:
    """Whether this is one of several processes that talk to each other by now."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _is_new(sentence: str) -> bool:
    """Whether no other process has said this; True where that cannot be found out any more."""
    from torch.distributed import distributed_c10d

    key = f"prunescope/told/{hashlib.sha256(sentence.encode(errors='replace')).hexdigest()[:16]}"
    try:
        return distributed_c10d._get_default_store().add(key, 1) == 1
    except (RuntimeError, ValueError, AttributeError):
        return True
