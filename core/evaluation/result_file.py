"""One JSON line per photo, written as a run goes: a header that says of what, then the lines; mended when resumed."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core.errors import InputError
from core.files import check_target, is_stdout, is_stream
from core.files.json_text import json_text
from core.photos.listing import PhotoList

WHAT = {
    "command": "command",
    "model": "model",
    "weights": "weights or classes",
    "setting": "setting",
    "data": "folder",
    "photos": "number of photos",
    "listing": "list of photos",
}
"""Fields of the header, and what a person calls them."""


def check_out(path: Path, *, resume: bool) -> None:
    """Refuse a file that a run could not write, before the work; `ResultFile` refuses it too, but later.

    Raises:
        InputError: If it is there already and `resume` is not set, cannot be resumed, or cannot be written.
    """
    check_target(path, "--out")
    if is_stream(path) and resume:
        raise InputError(f"{path} is no file that could be resumed; omit --resume, or name another file.")
    if not resume and not is_stream(path) and os.path.lexists(path):
        raise InputError(f"{path} is there already; --resume goes on with it, or name another file.")


class ResultFile:
    """An open file of results; this process alone writes to it until it is closed or dies."""

    def __init__(self, path: Path, header: dict, *, resume: bool) -> None:
        """Open `path`, new or to go on with.

        A last line without its end, left by a process that was killed, is cut off; its photo is done again.

        Args:
            path: The file; its folder must be there.
            header: The fields of `WHAT`; a file that is resumed must say the same.
            resume: Whether the file may be there already.

        Raises:
            InputError: If it is there and `resume` is not set, says another header, is in use, or cannot be written.
        """
        self.path = path
        check_out(path, resume=resume)
        self._stream = is_stream(path)
        if self._stream:
            self._open_stream(header)
            return
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | (0 if resume else os.O_EXCL)
            self._file = os.open(path, flags, 0o666)
        except FileExistsError:
            raise InputError(f"{path} is there already; --resume goes on with it, or name another file.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error
        try:  # of this process, not of what it forks: gone at the moment in which this process is
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(self._file)
            raise InputError(f"{path} is being written by another run; wait until it has ended.") from None
        except OSError:
            pass  # a file system without locks
        try:
            self._begin(header)
        except InputError:
            self.close()
            raise

    def _open_stream(self, header: dict) -> None:
        """A device or a pipe takes lines and nothing else: it is not locked, read, or cut."""
        try:
            self._file = os.dup(1) if is_stdout(self.path) else os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}); name a file.") from error
        self._write([header])

    def _begin(self, header: dict) -> None:
        """Cut off half a line, then check the header, or write it where there is none."""
        with self._reader() as file:
            first = file.readline()
            if first.endswith(b"\n"):
                _check_header(self.path, first, header)
                os.ftruncate(self._file, _whole_size(file))
                return
        _check_start(self.path, first)
        os.ftruncate(self._file, 0)
        self._write([header])

    def _reader(self) -> BinaryIO:
        """The file from its start, by the descriptor that holds the lock: closing another one would give it up."""
        os.lseek(self._file, 0, os.SEEK_SET)
        return open(self._file, "rb", closefd=False)

    def done(self, photos: PhotoList, on_row: Callable[[dict], None]) -> np.ndarray:
        """Read the lines that are there; which photos they are of, bool (photos,).

        Args:
            photos: Of the run.
            on_row: Called with each line.

        Raises:
            InputError: If a line is damaged, of a photo that is not in the list, or of one that had its line.
        """
        done = np.zeros(len(photos), dtype=bool)
        if self._stream:
            return done
        place: dict[str, int] | None = None
        for number, line in enumerate(self._lines()):
            row = _row(self.path, number + 2, line)
            index = number  # lines are in the order of the list, unless somebody took some out
            if place is None and not (index < len(photos) and photos.path(index) == row["file"]):
                place = {photos.path(i): i for i in range(len(photos))}
            if place is not None:
                index = place.get(row["file"], -1)
            if index < 0 or done[index]:
                why = "is of another photo" if index < 0 else "is of a photo that has its line already"
                raise InputError(f"Line {number + 2} of {self.path} {why}; remove that line, or name another file.")
            done[index] = True
            on_row(row)
        return done

    def _lines(self) -> Iterator[bytes]:
        """All lines after the header."""
        with self._reader() as file:
            file.readline()
            yield from file

    def append(self, rows: Sequence[dict]) -> None:
        """Write the lines of some photos in one go.

        Raises:
            InputError: If the disk is full or gone; what is in the file stays good for --resume.
            BrokenPipeError: If it is a pipe that nobody reads any more.
        """
        self._write(rows)

    def _write(self, rows: Sequence[dict]) -> None:
        data = "".join(json_text(row) + "\n" for row in rows).encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written further ({error.strerror}); make room, then go on with --resume."
            ) from error

    def close(self) -> None:
        """Let the file go; another run may then go on with it."""
        os.close(self._file)


def _whole_size(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def _check_start(path: Path, text: bytes) -> None:
    """A file without a whole first line may be replaced only if it is the start of a header.

    Raises:
        InputError: If it is something else.
    """
    start = b'{"prunescope": '
    if not (start.startswith(text) or text.startswith(start)):
        raise InputError(f"{path} holds no results of this command; name another file.")


def _check_header(path: Path, line: bytes, wanted: dict) -> None:
    """Say what differs between the header of a file and that of this run.

    Raises:
        InputError: If anything does.
    """
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("prunescope") != wanted["prunescope"]:
        raise InputError(f"{path} holds no results of this command; name another file.")
    for key, words in WHAT.items():
        if found.get(key) != wanted[key]:
            short = "" if key in ("weights", "listing") else f" ({_told(found.get(key))}, now {_told(wanted[key])})"
            raise InputError(
                f"{path} was written with another {words}{short}; repeat that command or name another file."
            )


def _told(value: object) -> str:
    """A header's value as a person reads it."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) if value not in ("", None) else "none"


def _row(path: Path, number: int, line: bytes) -> dict:
    """One line as it was written.

    Raises:
        InputError: If it is none.
    """
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("file"), str):
        raise InputError(f"Line {number} of {path} is damaged; remove that line, and --resume does its photo again.")
    return row
