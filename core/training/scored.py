"""A dense model made into a scored single-path one: what the command `score` and the Architecture page share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.errors import InputError
from core.families.families import family
from core.methods import SINGLE_PATH, check_takes
from core.models.cards import ModelCard, SinglePathCard
from core.models.load import Loaded
from core.models.registry import ASSETS
from core.photos.image import open_photo, to_tensor
from core.single_path.model import SinglePathViT
from core.single_path.score import GateScores, score

BATCH = 8
PART = 0.7
"""Side of an enlarged part, as a share of the whole."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A scored model, ready to be saved."""

    model: SinglePathViT
    card: ModelCard
    scores: GateScores


def make_scored(
    dense: Loaded,
    pictures: Sequence[Image.Image] | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    fits: bool = True,
    on_share: Callable[[float, str], None] | None = None,
) -> Scored:
    """Put gates into a dense model and score them.

    Args:
        dense: A dense model, on any device; its weights become the scored model's.
        pictures: To score on; None: cuts of the sample pictures.
        device: To compute on.
        seed: For the random directions.
        fits: See `core.single_path.score.score`.
        on_share: Called with the share done, 0 to 1, and what is being done; what it raises ends the work.

    Raises:
        InputError: If the model is pruned, or of a family that has no gates, or the pictures do not serve.
    """
    if dense.kind.pruned:
        raise InputError(f"{dense.spec.name} is pruned already; score the dense model that it came from.")
    check_takes(SINGLE_PATH, dense.card.family)
    cuts = pictures is None
    shown = sample_pictures() if pictures is None else pictures
    images = batches_of(shown, dense.card, device, cut=cuts)
    geometry, alpha = dense.card.geometry, family(dense.card.family).SEARCH.alpha
    model = SinglePathViT(dense.model, alpha, shifts=True).to(device)
    found = score(model, geometry, images, seed=seed, fits=fits, on_share=on_share)
    told = {
        "command": "score",
        "photos": len(shown),
        "cuts": sum(map(len, images)) if cuts else None,
        "dense": dense.spec.name,
    }
    single = SinglePathCard(alpha, fit_to_predict=True, shifts=True, scored=True)
    return Scored(model, replace(dense.card, single_path=single, training=told), found)


def batches_of(
    pictures: Sequence[Image.Image], card: ModelCard, device: torch.device | str, *, cut: bool = False
) -> list[Tensor]:
    """Pictures as batches (B, 3, H, W) to score on, normalised; `cut`: each one as its `cuts_of`.

    Raises:
        InputError: If there are none.
    """
    tensors = [to_tensor(picture, card) for picture in pictures]
    if cut:
        tensors = [view for photo in tensors for view in cuts_of(photo)]
    if not tensors:
        raise InputError("There are no photos to score on; give some.")
    return [batch.to(device) for batch in torch.cat(tensors).split(BATCH)]


def sample_pictures() -> list[Image.Image]:
    """The app's own pictures."""
    return [open_photo(path.read_bytes()) for path in sorted((ASSETS / "samples").glob("*.jpg"))]


def cuts_of(photo: Tensor) -> list[Tensor]:
    """Five views of one photo (1, 3, H, W): itself, mirrored, and three enlarged parts."""
    size = photo.shape[-1]
    side = round(PART * size)
    corners = ((0, 0), (size - side, size - side), (0, size - side))
    parts = [photo[..., top : top + side, left : left + side] for top, left in corners]
    enlarged = [functional.interpolate(part, (size, size), mode="bicubic", antialias=True) for part in parts]
    return [photo, photo.flip(-1), *enlarged]
