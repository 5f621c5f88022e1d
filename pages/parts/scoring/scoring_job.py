"""The scored form of a dense model: the job that makes it, once for all who want it, and what waits for that."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from core.config import ModelSpec
from core.errors import InputError
from core.models.weights import save_checkpoint
from core.photos.image import open_photo
from core.training.scored import make_scored
from pages.server import models, queues
from pages.server.jobs import Cancelled, Handle, Work

LOOK_S = 0.1
"""Seconds between two looks of a job that waits for a score."""
Key = tuple[str, str]
"""A dense model's name, and the fingerprint of what it is scored on."""
Tell = Callable[[float, str], object]


def is_done(key: Key) -> bool:
    """Whether a model was scored on these photos, and its file is there."""
    result = queues.scorings().result(key)
    return result is not None and Path(result).is_file()


def obtain(name: str, own: str) -> tuple[Key, Callable[[Handle, Tell], Path | str]]:
    """The scored form of a dense model: one that is there already, or else scored on cuts of the sample pictures.

    Args:
        name: The dense model.
        own: Fingerprint of the person's photos, which it may have been scored on before.

    Returns:
        Its key, and what waits for its file from another job, or gives the sentence that says why it failed.
    """
    key = next((each for each in ((name, own), (name, "")) if is_done(each)), (name, ""))
    jobs, who, shares = queues.scorings(), queues.visitor(), queues.scoring_shares()
    if jobs.result(key) is not None and not is_done(key):
        jobs.forget(lambda other: other == key)  # its file is gone
    work = scoring(key, None)

    def wait(handle: Handle, tell: Tell) -> Path | str:
        jobs.ask(key, who, lambda: work, again=True)
        handle.at_end(lambda: jobs.leave(who, but=lambda other: other != key))
        while (found := jobs.standing(key)) is not None and found.under_way:
            handle.check()
            tell(*shares.get(key, (0.0, "waiting")))
            time.sleep(LOOK_S)
        if found is None or found.state == "cancelled":
            raise Cancelled
        return Path(found.result) if found.failure is None else found.failure

    return key, wait


def scoring(key: Key, photos: Sequence[bytes] | None) -> Work:
    """What scores the model and writes it into this server's own folder."""
    dense, shares = models.loaded(ModelSpec(key[0])), queues.scoring_shares()
    short = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
    path = queues.own_folder() / f"{Path(key[0]).stem}-scored-{short}.safetensors"

    def work(handle: Handle) -> str:
        def tell(share: float, doing: str) -> None:
            handle.check()
            shares[key] = share, doing

        made = make_scored(dense, None if photos is None else opened(photos), on_share=tell)
        save_checkpoint(path, made.model, made.card, half=False)
        return str(path)

    return work


def opened(photos: Sequence[bytes]) -> list[Image.Image]:
    """Those of the photos that can be read; of the others the uploader or Compare has said so."""
    pictures = []
    for data in photos:
        with suppress(InputError):
            pictures.append(open_photo(data))
    return pictures
