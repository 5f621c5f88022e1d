"""`--engine` of commands that run a model on photos: made ready once, then it answers and is timed."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from core.commands.requests import PhotosRequest
from core.commands.shared import Progress, pick_device
from core.inference.rounding import roundings
from core.inference.trace import prediction_of
from core.latency.engines import Runner, check_engine, prepare, ready
from core.latency.random_models import dense_form
from core.models.load import Loaded
from core.models.macs import fixed_macs
from core.models.runners import Runner as Batches
from core.photos.image import to_tensor
from core.results import Prediction
from core.results.timings import EAGER, ENGINES, ROUNDED, Rounding
from core.soft_tokens.decide import keep_count


def fixed_cost(loaded: Loaded) -> tuple[int, list[int] | None]:
    """Multiply-adds of any photo in a fixed graph, and the patches alive after each selector."""
    macs, keep = fixed_macs(loaded), loaded.spec.keep
    assert macs is not None  # else there is no graph
    return macs, None if keep is None else [keep_count(share, loaded.card.geometry.patches) for share in keep]


@dataclass(frozen=True, eq=False)
class Answering:
    """A model in an engine other than eager."""

    loaded: Loaded
    run: Runner
    rounded: bool = False
    """It computes in fewer bits than the weights have."""

    def answer(self, photo: Image.Image) -> tuple[Prediction, int, list[int] | None]:
        """What it says, its multiply-adds, and the patches alive after each selector."""
        loaded = self.loaded
        logits = self.run(to_tensor(photo, loaded.card).to(next(loaded.model.parameters()).device))
        return prediction_of(loaded, logits), *fixed_cost(loaded)

    def moved(self, photo: Image.Image) -> Rounding | None:
        """How far fewer bits moved this answer; None where there are as many."""
        return roundings(self.loaded, self.run, [photo])[0] if self.rounded else None


def in_engine(args: PhotosRequest, loaded: Loaded) -> Answering | None:
    """The model in the engine of the flags, for one photo at a time; None for eager, where it runs as it is.

    Raises:
        InputError: If the engine is none, or cannot take the model or run here.
    """
    if args.engine == EAGER:
        return None
    return Answering(loaded, _made_ready(args, loaded, 1), args.engine in ROUNDED)


def dense_beside(args: PhotosRequest, loaded: Loaded) -> Runner | None:
    """The dense model of this shape in the engine of the flags, to time; None where the model is dense itself."""
    if not loaded.kind.pruned:
        return None
    device, size = next(loaded.model.parameters()).device, loaded.card.geometry.img_size
    dense, line = dense_form(loaded.card.geometry, device), Progress()
    if args.engine == EAGER:
        return dense
    line.show(f"Making its dense form ready in {ENGINES[args.engine]} …")
    try:
        return prepare(dense, args.engine, torch.zeros(1, 3, size, size, device=device))
    finally:
        line.clear()


def batches_in_engine(args: PhotosRequest, loaded: Loaded) -> Batches | None:
    """The model in the engine of the flags, for batches of up to `--batch` photos; None for eager.

    A fixed graph takes batches of one size, so one that is smaller is filled up with nothing.

    Raises:
        InputError: As `in_engine`.
    """
    if args.engine == EAGER:
        return None
    run = _made_ready(args, loaded, args.batch)
    macs, kept = fixed_cost(loaded)

    def batch(images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        count, device = len(images), images.device
        empty = images.new_zeros(args.batch - count, *images.shape[1:])
        logits = run(torch.cat((images, empty)) if len(empty) else images)[:count]
        costs = torch.full((count,), float(macs), dtype=torch.float64, device=device)
        return logits, costs, None if kept is None else torch.tensor([kept] * count, device=device)

    return batch


def _made_ready(args: PhotosRequest, loaded: Loaded, batch: int) -> Runner:
    line = Progress()
    check_engine(args.engine, pick_device(args.device))
    line.show(f"Making {loaded.spec.name} ready in {ENGINES[args.engine]} …")
    try:
        return ready(loaded, args.engine, batch)
    finally:
        line.clear()
