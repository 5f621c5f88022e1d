"""`--engine` of commands that run a model on photos: made ready once, then it answers and is timed."""

import argparse
from dataclasses import dataclass

from PIL import Image

from core.checkpoints import Loaded
from core.commands.shared import Progress, pick_device
from core.engines import Runner, check_engine, ready
from core.images import to_tensor
from core.results import Prediction
from core.soft_tokens.decide import keep_count
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import schedule_macs
from core.timings import EAGER, ENGINES
from core.trace import macs_of, prediction_of


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The flag."""
    parser.add_argument(
        "--engine",
        default=EAGER,
        help=f"{', '.join(ENGINES)} (default %(default)s); all but eager need --keep where a model has token selectors",
    )


@dataclass(frozen=True, eq=False)
class Answering:
    """A model in an engine other than eager."""

    loaded: Loaded
    run: Runner

    def answer(self, photo: Image.Image) -> tuple[Prediction, int, list[int] | None]:
        """What it says, its multiply-adds, and the patches alive after each selector."""
        loaded = self.loaded
        logits = self.run(to_tensor(photo, loaded.card).to(next(loaded.model.parameters()).device))
        if not isinstance(loaded.model, SoftTokenViT):
            return prediction_of(loaded, logits), macs_of(loaded).total, None
        geometry, keep = loaded.card.geometry, loaded.spec.keep
        kept = [keep_count(share, geometry.patches) for share in keep]
        return prediction_of(loaded, logits), schedule_macs(geometry, loaded.model.blocks, keep).total, kept


def in_engine(args: argparse.Namespace, loaded: Loaded) -> Answering | None:
    """The model in the engine of the flags, for one photo at a time; None for eager, where it runs as it is.

    Raises:
        InputError: If the engine is none, or cannot take the model or run here.
    """
    if args.engine == EAGER:
        return None
    line = Progress()
    check_engine(args.engine, pick_device(args.device))
    line.show(f"Making {loaded.spec.name} ready in {ENGINES[args.engine]} …")
    try:
        return Answering(loaded, ready(loaded, args.engine))
    finally:
        line.clear()
