"""What the commands share: progress on stderr, output as text or as one JSON object."""

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from core.config import BUDGET
from core.errors import FileNote, InputError
from core.files.json_text import json_text
from core.photos.batches import loader_trouble


def data_told(data: Sequence[Path]) -> str | list[str]:
    """What --data named, for the JSON: one folder as a text, several as a list."""
    return str(data[0]) if len(data) == 1 else list(map(str, data))


def pick_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        InputError: If the name is none, or the device is not in this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise InputError(f"--device takes cpu, cuda or mps; not {name!r}.")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name} is not in this machine; try --device cpu.") from error
    return device


def check_workers(args: argparse.Namespace) -> None:
    """Have the photos read without loader processes where the system cannot run any; says so."""
    trouble = loader_trouble(args.workers) if getattr(args, "workers", 0) > 0 else None
    if trouble is not None:
        say(f"No loader processes can be run here ({trouble}); photos are read without them, which is slower.")
        args.workers = 0


def first_process() -> bool:
    """Whether this is the only process, or the one of several that speaks (torchrun numbers them)."""
    return os.environ.get("RANK", "0") == "0"


def leave_together() -> None:
    """Of several processes none goes before the last is done, or those that still talk to it would fail."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def say(text: str) -> None:
    """A line for the person, on stderr; of several processes the first one says it."""
    if first_process():
        print(text, file=sys.stderr, flush=True)


def say_here(text: str) -> None:
    """A line of this process alone, whichever of several it is: what only it has seen."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def notes_said() -> Iterator[None]:
    """For `with`: what a weights file does not say, and how it is taken, is said once, on stderr."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", FileNote)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, FileNote):
                usual(message, category, *where, **more)
            elif str(message) not in told:
                told.add(str(message))
                say(f"note: {message}")

        warnings.showwarning = show
        yield


class Progress:
    """One line on stderr that overwrites itself; silent when nobody watches."""

    def __init__(self) -> None:
        """Find out whether stderr is a terminal."""
        self._watched = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._watched:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._watched and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def emit(result: dict, text: str, *, as_json: bool, aside: bool = False) -> None:
    """Print `result` as JSON, or `text`; of several processes the first one does.

    Args:
        result: For programs.
        text: For people.
        as_json: Which of them.
        aside: On stderr, because stdout holds the lines of --out.

    Raises:
        InputError: If stdout takes no more, such as a file on a full disk.
        BrokenPipeError: If nobody reads it any more.
    """
    if not first_process():
        return
    try:
        print(json_text(result) if as_json else text, file=sys.stderr if aside else sys.stdout, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        close_stdout()
        raise InputError(f"The answer cannot be written to stdout ({error.strerror}); send it elsewhere.") from error


def close_stdout() -> None:
    """Throw away what is still to be written there, or Python complains as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parse_budget(text: str, dense_macs: int, flag: str = "--budget") -> float:
    """A budget in MACs from "0.8" (GMACs) or "60%" (of dense); `flag`: where it was given.

    Raises:
        InputError: If it is neither, or not above 0.
    """
    try:
        value = BUDGET.read(text, dense_macs)
    except ValueError as error:
        raise InputError(f"{flag} takes GMACs such as 0.8, or a share of dense such as 60%; not {text!r}.") from error
    if not 0 < value < float("inf"):
        raise InputError(f"{flag} takes a number above 0; not {text!r}.")
    return value


def numbers(text: str, kind: type, flag: str) -> tuple:
    """Comma-separated numbers, such as 0.7,0.5,0.3.

    Raises:
        InputError: If a part is no number of that kind.
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{flag} takes numbers with commas between them; not {text!r}.") from error
