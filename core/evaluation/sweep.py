"""A model over very many photos: one row per photo in the order of the list, on one process or several, resumable."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from core.errors import InputError
from core.evaluation.passes import one_pass
from core.evaluation.result_file import ResultFile
from core.latency import measure as latency
from core.models.cards import ModelCard
from core.models.runners import Answers, Baseline, Runner
from core.photos.listing import PhotoList
from core.photos.loader import PhotoBatch, Photos, Share, photo_loader
from core.results import ClassName

T = TypeVar("T")
NamedRunner = Callable[[torch.Tensor, list[str]], Answers]
"""As `core.models.runners.Runner`, and told the paths of the photos."""


@dataclass
class Tally:
    """Sums over rows; what is kept of a photo once its row is written."""

    images: int = 0
    """Photos that could be read."""
    unreadable: int = 0
    first: int = 0
    """Of `images`: the likeliest class is right."""
    five: int = 0
    """Of `images`: one of the five likeliest is right."""
    macs: int = 0
    """Sum over `images`; whole numbers, so their order does not matter."""

    def add(self, row: dict) -> None:
        """Count one row."""
        if "error" in row:
            self.unreadable += 1
            return
        self.images += 1
        self.macs += row["macs"]
        self.first += bool(row.get("correct"))
        self.five += bool(row.get("in_top5"))


@dataclass
class Pace:
    """How fast the photos of this run went, those of an earlier one not counted."""

    photos: int = 0
    seconds: float = 0.0
    """From the first photo to the last, but for what a `core.models.runners.Baseline` prepares."""
    preparing: float = 0.0
    """Seconds of that, averaged over the processes."""
    waited: float = 0.0
    """Seconds spent waiting for photos, averaged over the processes."""
    passes_ms: list[float] = field(default_factory=list)
    """Of each pass through the model, by this process."""
    batch: int = 0
    """Photos of the largest pass."""

    @property
    def images_per_s(self) -> float | None:
        """None where nothing was left to do."""
        return self.photos / self.seconds if self.photos else None

    @property
    def waiting_share(self) -> float | None:
        """Share of the time in which the model waited for photos, in [0, 1]; None where nothing was left to do."""
        return self.waited / self.seconds if self.photos else None


@dataclass(frozen=True, eq=False)
class Task:
    """What to do with each photo."""

    run: NamedRunner
    classes: tuple[ClassName, ...]
    """C of them, as the model numbers them."""
    device: torch.device
    graded: bool
    """True: rows say whether the class is right; False: they hold the five likeliest classes."""


@torch.inference_mode()
def sweep(
    task: Task,
    photos: PhotoList,
    dataset: Photos,
    *,
    batch: int,
    workers: int,
    file: ResultFile | None = None,
    resume_from: tuple[np.ndarray, Tally] | None = None,
    rank: int = 0,
    world: int = 1,
    on_rows: Callable[[list[dict]], None] | None = None,
) -> tuple[Tally, Pace]:
    """Run over all photos that are not done; every process gets the same totals.

    Args:
        task: Of every process the same.
        photos: Likewise.
        dataset: The same photos as model input.
        batch: Photos per step and process.
        workers: Loader processes for each process.
        file: Where the first process writes; None for the others, or where nothing is written.
        resume_from: Which photos are done, and their sums; the same for every process.
        rank: Number of this process.
        world: Number of processes.
        on_rows: Called with all rows of each step.

    Raises:
        InputError: In all processes, if the answers are no numbers.
    """
    done, tally = resume_from or (np.zeros(len(photos), dtype=bool), Tally())
    share = Share(np.flatnonzero(~done), batch, rank, world)
    pace = Pace(photos=len(share.todo))
    failed: str | None = None  # told to the others with the next rows: one that left alone would leave them waiting
    began = latency.clock()
    batches = iter(photo_loader(dataset, share, workers=workers, pin=task.device.type == "cuda"))
    for _ in range(len(share)):
        waited_ms, photo_batch = latency.timed(partial(next, batches, None))
        pace.waited += waited_ms / 1e3
        rows = [] if photo_batch is None else _rows(task, photos, photo_batch, pace)
        rows = [{"error": failed}] if failed else rows
        rows = [row for part in exchange(rows, world) for row in part]
        _check(rows)
        for row in rows:
            tally.add(row)
        if file is not None:
            failed = _try_to_write(file, rows)
        if on_rows is not None:
            on_rows(rows)
    pace.seconds = latency.clock() - began
    ends = exchange((pace.waited, pace.preparing, failed), world)
    _check([{"error": text} for *_, text in ends if text])
    pace.waited, pace.preparing = (sum(end[part] for end in ends) / world for part in (0, 1))
    pace.seconds -= pace.preparing
    return tally, pace


def _check(rows: list[dict]) -> None:
    """Stop where a row is an error of no one photo."""
    for row in rows:
        if "error" in row and "file" not in row:
            raise InputError(row["error"])


def _try_to_write(file: ResultFile, rows: list[dict]) -> str | None:
    """Write the rows; the sentence where that fails."""
    try:
        file.append(rows)
    except InputError as error:
        return str(error)
    return None


def _rows(task: Task, photos: PhotoList, batch: PhotoBatch, pace: Pace) -> list[dict]:
    """One row per photo of the batch, in its order."""
    rows: dict[int, dict] = {index: {"file": photos.path(index), "error": text} for index, text in batch.errors.items()}
    if batch.images is not None:
        images = batch.images.to(task.device, non_blocking=True)
        paths = [photos.path(i) for i in batch.readable]
        try:
            logits, macs, kept, preparing_ms, pass_ms = one_pass(task.run, images, paths)
        except InputError as error:
            return [{"error": str(error)}]
        pace.preparing += preparing_ms / 1e3
        if len(images) >= pace.batch:
            pace.passes_ms = [] if len(images) > pace.batch else pace.passes_ms
            pace.batch = len(images)
            pace.passes_ms.append(pass_ms)
        top = logits.topk(min(5, logits.shape[-1]), dim=-1).indices  # (B, 5)
        probs = logits.softmax(dim=-1).gather(1, top).tolist()
        counts = [None] * len(images) if kept is None else kept.tolist()
        for i, classes, p, m, k in zip(batch.readable, top.tolist(), probs, macs.tolist(), counts, strict=True):
            guesses = [
                {"label": task.classes[c].label, "wnid": task.classes[c].wnid, "prob": prob}
                for c, prob in zip(classes, p, strict=True)
            ]
            row = {"file": photos.path(i)}
            if task.graded:
                label = photos.label(i)
                row |= {"top1": guesses[0], "correct": classes[0] == label, "in_top5": label in classes}
            else:
                row |= {"top5": guesses}
            rows[i] = row | {"macs": int(m), "kept": k}
    return [rows[index] for index in batch.indices]


def exchange(mine: object, world: int) -> list:
    """What each process has, in the order of their numbers; every process gets all of it."""
    if world == 1:
        return [mine]
    all_of_them: list = [None] * world
    dist.all_gather_object(all_of_them, mine)
    return all_of_them


def from_first(mine: T, world: int) -> T:
    """What the first process has."""
    box = [mine]
    if world > 1:
        dist.broadcast_object_list(box)
    return box[0]


def unnamed(run: Runner) -> NamedRunner:
    """A runner that does not ask which photos it sees."""
    if isinstance(run, Baseline):
        return Baseline(lambda images, paths: run.prepare(images))
    return lambda images, paths: run(images)


def weights_fingerprint(model: nn.Module, card: ModelCard) -> str:
    """What tells two models apart that bear one name: a hash of all their numbers and their card, 16 hex digits."""
    found = hashlib.sha256(repr(card).encode())
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
