"""Which photos a long run goes over: found in nested folders in one fixed order, held in a few bytes each."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from core.errors import InputError
from core.training.data import SelectedFolder

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""What a walk takes for photos: the formats that `core.images.open_photo` reads."""


class PhotoList:
    """Paths and labels, packed: a Python list of them would be copied, page by page, into every loader process."""

    def __init__(self, paths: Iterable[str], labels: Iterable[int] | None = None) -> None:
        """Args: `paths` in the order of the run; `labels` one class number each, or None where nobody asks."""
        encoded = [os.fsencode(path) for path in paths]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
        self._labels = np.fromiter(labels, np.int32) if labels is not None else np.full(len(encoded), -1, np.int32)

    def __len__(self) -> int:
        """How many photos."""
        return len(self._ends)

    def path(self, index: int) -> str:
        """Path of photo `index`, as it was found."""
        begin = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._bytes[begin : int(self._ends[index])])

    def label(self, index: int) -> int:
        """Class number of photo `index`; -1 where there is none."""
        return int(self._labels[index])

    def fingerprint(self) -> str:
        """Sha256 of all paths and labels: two lists with the same one hold the same photos in the same order."""
        return hashlib.sha256(self._ends.tobytes() + self._labels.tobytes() + self._bytes).hexdigest()


def walk(folder: Path, _above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Photos in `folder` and the folders in it, sorted by name, files before folders; hidden ones are left out.

    A link to a folder is followed, but not back to one that it lies in.

    Raises:
        InputError: If a folder cannot be read.
    """
    try:
        about = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}); name another one.") from error
    here = (about.st_dev, about.st_ino)
    if here in _above:
        return
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    yield from (folder / e.name for e in shown if e.name.lower().endswith(PHOTO_SUFFIXES) and e.is_file())
    for entry in shown:
        if entry.is_dir():
            yield from walk(folder / entry.name, (*_above, here))


def list_photos(given: Sequence[Path]) -> PhotoList:
    """Photos and folders that a person named, each photo once, in the order in which they were named.

    Raises:
        InputError: If a path is not there, or no photo is found.
    """
    found: dict[str, None] = {}
    for path in given:
        if path.is_dir():
            found |= dict.fromkeys(map(str, walk(path)))
        elif path.is_file():
            found[str(path)] = None
        else:
            raise InputError(f"{path} cannot be read (it is not there); give the path of a photo or of a folder.")
    if not found:
        kinds = ", ".join(PHOTO_SUFFIXES)
        raise InputError(f"{', '.join(map(str, given))} holds no photos; their names must end in {kinds}.")
    return PhotoList(found)


def labelled(dataset: SelectedFolder) -> PhotoList:
    """The photos of an ImageFolder, in its order, with their labels."""
    return PhotoList((path for path, _ in dataset.samples), (label for _, label in dataset.samples))
