"""What `score` does, as the beginning of a training: on training photos, or read from what `score` wrote."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from core.commands.session import dense_start
from core.commands.shared import Progress, say
from core.config import USUAL_PHOTOS
from core.errors import InputError
from core.families.families import family
from core.methods import SINGLE_PATH
from core.models.cards import ModelCard
from core.models.load import file_of, read_model
from core.models.releases.files import released_names
from core.models.weights import holds_card, read_card
from core.photos.class_folders import match_folders, split_roots
from core.single_path.model import SinglePathViT
from core.single_path.score import score
from core.training.data import spread
from core.training.readable import Readable
from core.training.scored import batches_of


@dataclass(frozen=True, eq=False)
class Start:
    """What a training of gates, or for any budget, starts from."""

    model: SinglePathViT
    """To be trained; all its parameters learn."""
    scored: bool
    """Its gates hold scores already."""
    dense: nn.Module
    """The same without gates: what teaches."""
    name: str
    """Of the dense model."""
    card: ModelCard
    """Of the dense model."""
    folders: list[str]
    """Of the data, in the order of its classes."""


def start_of(name: str, data: Sequence[Path], alpha: float | None = None, *, scores: bool = True) -> Start:
    """The search form of a dense model, or of what `score` made of one.

    What scoring fitted (head mixing and batch norms of the convolutions, and the mean that each unit leaves behind)
    stays in the model as training begins. The means are those of the dense model; as the weights move a little, the
    second layer's bias, which learns, takes up the difference.

    Args:
        name: Of the model.
        data: ImageFolder roots.
        alpha: Temperature of the head mixing; None: the family's, or what it was scored at.
        scores: With room for scores; False: for a flat start.

    Raises:
        InputError: If there is no such model, or it cannot start this.
    """
    found = _read_scored(name)
    if found is None:
        loaded, folders = dense_start(name, data, method=SINGLE_PATH)
        alpha = family(loaded.card.family).SEARCH.alpha if alpha is None else alpha
        model = SinglePathViT(copy.deepcopy(loaded.model).requires_grad_(True), alpha, shifts=scores)
        return Start(model, False, loaded.model, name, loaded.card, folders)
    model, card = found
    if not scores:
        raise InputError(f"{name} holds scores; for a flat start give the dense model that it came from.")
    if alpha not in (None, model.alpha):
        raise InputError(f"{name} was scored at --alpha {model.alpha:g}; give that, or the dense model.")
    folders, _ = match_folders(split_roots(data, "train"), card.classes, least=2)
    dense = str(card.training.get("dense", name))
    return Start(model, True, copy.deepcopy(model.backbone), dense, replace(card, single_path=None), folders)


def _read_scored(name: str) -> tuple[SinglePathViT, ModelCard] | None:
    """The search form and card in a file of `score`; None where `name` is anything else, or was trained since."""
    path = None if name in released_names() else file_of(name)
    card = read_card(path) if path is not None and holds_card(path) else None
    if card is None or card.single_path is None or not card.only_scored:
        return None
    model, card = read_model(name)
    assert isinstance(model, SinglePathViT)  # as it has gates
    return model, card


def score_on(model: SinglePathViT, card: ModelCard, photos: Readable, *, name: str, seed: int) -> None:
    """Score a fresh search form on `USUAL_PHOTOS` photos at even distances, in place, as `score --photos` does.

    Args:
        model: With `shifts`, on the device to compute on; all its parameters will learn.
        card: Of the dense model.
        photos: That are trained on, as pictures.
        name: Of the dense model.
        seed: For the random directions.

    Raises:
        InputError: If there are too few photos, or all look alike to the model.
    """
    pictures = [photos[index][0] for index in spread(range(len(photos)), USUAL_PHOTOS)]
    say(f"Scoring {name} on {len(pictures)} training photos …")
    line, device = Progress(), next(model.parameters()).device
    model.requires_grad_(False)
    score(
        model,
        card.geometry,
        batches_of(pictures, card, device),
        seed=seed,
        on_share=lambda share, doing: line.show(f"{share:.0%}, {doing}"),
    )
    line.clear()
    model.requires_grad_(True).zero_grad()
