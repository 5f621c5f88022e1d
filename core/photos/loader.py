"""Batches of photos ahead of the model: read by loader processes, never more of them at once than a few batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.errors import InputError
from core.photos.batches import sent
from core.photos.listing import PhotoList

AHEAD = 2
"""Batches that each loader process reads ahead of the model."""


@dataclass(frozen=True, eq=False)
class PhotoBatch:
    """Some photos of a list, in its order."""

    indices: tuple[int, ...]
    """Of all of them."""
    images: Tensor | None
    """(B, 3, H, W): those that could be read; None where none could."""
    errors: dict[int, str]
    """Index -> the sentence, of those that could not."""

    @property
    def readable(self) -> tuple[int, ...]:
        """Indices of the B in `images`."""
        return tuple(i for i in self.indices if i not in self.errors)

    def pin_memory(self) -> "PhotoBatch":
        """What the loader calls where a GPU waits for the photos."""
        return PhotoBatch(self.indices, None if self.images is None else self.images.pin_memory(), self.errors)


class Photos(Dataset):
    """Photos as model input; one that cannot be read is a sentence in place of a tensor."""

    def __init__(
        self, photos: PhotoList, read: Callable[[Path], Image.Image], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        """Args: `read` opens a path or raises InputError; `transform` makes (3, H, W) of a photo."""
        self._photos, self._read, self._transform = photos, read, transform

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        """One photo."""
        path = Path(self._photos.path(index))
        try:
            photo = self._read(path)
        except InputError as error:
            return index, str(error)
        except Exception as error:  # Pillow raises nearly anything on damaged files; one of 50,000 is no reason to stop
            return index, f"{path} cannot be read ({type(error).__name__})."
        return index, self._transform(photo)


def collate(items: list[tuple[int, Tensor | str]]) -> PhotoBatch:
    """Some of `Photos` as one batch."""
    tensors = [value for _, value in items if isinstance(value, Tensor)]
    errors = {index: value for index, value in items if isinstance(value, str)}
    return PhotoBatch(tuple(index for index, _ in items), sent(torch.stack(tensors)) if tensors else None, errors)


@dataclass(frozen=True, eq=False)
class Share:
    """What one process of several runs: in each step, the first process the first `batch` photos, and so on.

    So a step's results, process by process, are in the order of the list, whatever the number of processes.
    """

    todo: np.ndarray
    """Indices of the photos to do, rising."""
    batch: int
    """Photos per step and process."""
    rank: int = 0
    """Number of this process."""
    world: int = 1
    """Number of processes."""

    def __len__(self) -> int:
        """Steps, the same for all processes; in the last one, some may have no photos."""
        return -(-len(self.todo) // (self.batch * self.world))

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this process; the empty ones are left out."""
        for begin in range(self.rank * self.batch, len(self.todo), self.batch * self.world):
            yield self.todo[begin : begin + self.batch].tolist()


def photo_loader(dataset: Dataset, share: Share, *, workers: int, pin: bool = False) -> DataLoader:
    """A loader of `PhotoBatch`, in order, that holds at most `AHEAD` batches per worker.

    Args:
        dataset: `Photos`.
        share: Which of them.
        workers: Loader processes; 0: the process itself reads, between the model's passes.
        pin: Whether a GPU waits for the photos.
    """
    workers = min(workers, len(share))
    ahead = AHEAD if workers else None
    return DataLoader(
        dataset, batch_sampler=share, num_workers=workers, collate_fn=collate, prefetch_factor=ahead, pin_memory=pin
    )
