"""Which photos a long run goes over: found in one fixed order, held in a few bytes each."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import InputError
from core.photos.class_folders import SelectedFolder
from core.photos.image import KINDS
from core.photos.walk import Skipped, walk


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


def list_photos(given: Sequence[Path]) -> tuple[PhotoList, Skipped]:
    """Photos and folders that a person named, each photo once, in the order in which they were named.

    Raises:
        InputError: If a path is not there, or no photo is found.
    """
    for path in given:
        if not (path.is_dir() or path.is_file()):
            raise InputError(f"{path} cannot be read (it is not there); give the path of a photo or of a folder.")
    folders = [path for path in given if path.is_dir()]
    walked = walk(folders)
    inside = dict(zip(folders, walked.photos, strict=True))
    found = dict.fromkeys(photo for path in given for photo in inside.get(path, (str(path),)))
    if not found:
        skipped = f" {walked.skipped.sentence}" if walked.skipped.files else ""
        raise InputError(f"{', '.join(map(str, given))} holds no photos ({KINDS}).{skipped}")
    return PhotoList(found), walked.skipped


def labelled(dataset: SelectedFolder, chosen: Iterable[int] | None = None) -> PhotoList:
    """The photos of an ImageFolder, in its order, with their labels: all, or those at these places."""
    samples = dataset.samples if chosen is None else [dataset.samples[place] for place in chosen]
    return PhotoList((path for path, _ in samples), (label for _, label in samples))
