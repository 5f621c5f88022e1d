"""Batches on their way out of loader processes: through shared memory where there is room for them, else a pipe."""

import multiprocessing
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

SMALL = 1 << 16
"""Bytes that always go through the pipe: a segment of shared memory and its file would cost more."""


class _ByPipe:
    """A tensor that is pickled as its bytes; what arrives is a plain tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __reduce__(self) -> tuple:
        return torch.from_numpy, (self._tensor.numpy(),)


def sent(tensor: Tensor) -> Tensor:
    """A tensor as a loader process hands it over; outside of one, the tensor itself.

    In one it may be what becomes the tensor on its way: there is nothing else to do with it.

    Left to itself, torch takes the shared memory in a thread of the loader process. Where there is no room (a container
    has 64 MB of /dev/shm unless told otherwise) the batch is lost in that thread, and whoever waits for it waits for
    ever.
    """
    if get_worker_info() is None:
        return tensor
    sys.excepthook = _untroubled
    piped = cast(Tensor, _ByPipe(tensor))
    if tensor.nbytes <= SMALL:
        return piped
    try:
        return tensor.share_memory_()
    except RuntimeError:
        return piped


def _untroubled(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In a loader process: that the one it serves has ended is no news for the thread that hands over memory."""
    if not issubclass(kind, EOFError | OSError | multiprocessing.AuthenticationError):
        sys.__excepthook__(kind, error, trace)


def labelled_batch(items: Sequence[tuple[Tensor, int]]) -> list:
    """Images and labels: (B, 3, H, W) and (B,), as a loader's `collate_fn`."""
    images, labels = zip(*items, strict=True)
    return [sent(torch.stack(images)), sent(torch.tensor(labels))]


def loader_trouble(workers: int) -> str | None:
    """Why this system cannot run so many loader processes, in its own words; None where it can."""
    try:
        queues = 2 * (workers + 2)  # several loaders may be there at once; a queue has up to four semaphores
        _ = [multiprocessing.get_context().Semaphore() for _ in range(4 * queues)]
    except (OSError, ImportError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
