"""A few damaged photos are no reason to lose a day of training: each is named once, left out, and counted."""

from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Any

from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder

from core.errors import InputError

Labelled = ImageFolder | Subset[tuple[Any, int]]
"""Photos with their labels: a folder of them, or some of those."""
FEW = 10
"""As many may be damaged of up to a thousand photos; of more, one in a hundred."""


class Readable(Dataset):
    """A dataset whose photos that cannot be read are told, and replaced by the next one that can."""

    def __init__(self, photos: Labelled, tell: Callable[[str], None], *, graded: bool = False) -> None:
        """Args: `tell` is called, in a loader process, once per photo; `graded`: what replaces one has label -1."""
        self._photos, self._tell, self._graded = photos, tell, graded
        try:
            self._damaged = RawArray("b", len(photos))  # of all loader processes together
        except OSError:
            self._damaged = bytearray(len(photos))  # no shared memory here, so each process tells by itself

    def __len__(self) -> int:
        """How many photos, readable or not."""
        return len(self._photos)

    @property
    def damaged(self) -> list[int]:
        """Those that could not be read so far, by this process and its loader processes."""
        return [index for index, bad in enumerate(bytes(self._damaged)) if bad]

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """One photo, a picture where nothing transforms it, and its label.

        Raises:
            InputError: If too many could not be read: then something else is wrong, such as a disk that went away.
        """
        for step in range(len(self)):
            place = (index + step) % len(self)
            try:
                image, label = self._photos[place]
            except InputError as error:
                self._note(place, str(error))
                continue
            return image, -1 if self._graded and step else label
        raise InputError(f"None of the {len(self)} photos can be read; mend or replace them.")

    def _note(self, index: int, sentence: str) -> None:
        """Tell of one that cannot be read, unless that was done.

        Raises:
            InputError: If there are too many.
        """
        if self._damaged[index]:
            return
        self._damaged[index] = 1
        count = bytes(self._damaged).count(1)
        if count > max(FEW, len(self) // 100):
            raise InputError(f"{sentence} It is one of {count} of the {len(self)} photos.")
        self._tell(f"Left out: {sentence}")
