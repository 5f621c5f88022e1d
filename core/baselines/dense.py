"""The dense model whose untouched weights the peers run on."""

from dataclasses import replace

from core.config import ModelSpec
from core.costs.geometry import Geometry
from core.errors import InputError
from core.families.families import baseline_names, family
from core.models.cards import ModelCard
from core.models.load import Loaded, load

FALLBACK = "bundled-dense"


def check_family(name: str, card: ModelCard) -> None:
    """Refuse what the peers cannot take.

    Raises:
        InputError: If the model is of another family than timm's plain VisionTransformer.
    """
    if not family(card.family).BASELINES:
        raise InputError(
            f"Token merging, fusing and random dropping take {baseline_names()}; {name} is of the family {card.family}."
        )


def check_dense(name: str, dense: Loaded, card: ModelCard | None = None) -> None:
    """Refuse a model that is no dense ViT, or none of the shape and classes that a pruned one has.

    Args:
        name: Of the pruned model, or of the dense one where there is no other.
        dense: To run the peers on.
        card: Of the pruned model; None: it is held against nothing.

    Raises:
        InputError: See above.
    """
    own = dense.spec.name
    check_family(own, dense.card)
    if dense.kind.pruned:
        raise InputError(f"{own} is no dense model; the others run on untouched dense weights: name some as --dense.")
    if card is not None and (_shape(card.geometry), card.classes) != (_shape(dense.card.geometry), dense.card.classes):
        raise InputError(
            f"{own} has not the shape and classes of {name}; name the dense model it was made of as --dense."
        )


def dense_of(name: str, card: ModelCard, given: str | None = None) -> Loaded:
    """The dense model to hold a pruned one against.

    Args:
        name: Of the pruned model.
        card: Its own, which may say what it was trained from.
        given: What the person names; None: what the card says if that is here and fits, else `FALLBACK`.

    Raises:
        InputError: If the family is none for the peers, or there is no such dense model.
    """
    check_family(name, card)
    if given is not None:
        found = load(ModelSpec(given), download=True)
        check_dense(name, found, card)
        return found
    said = card.training.get("dense")
    for candidate in (said, FALLBACK):
        try:
            found = load(ModelSpec(str(candidate)))
            check_dense(name, found, card)
        except InputError:
            continue
        return found
    where = f"{said} is not here, or does not fit" if said else "its file does not say which"
    raise InputError(f"Name the dense model that {name} was made of as --dense: {where}.")


def _shape(geometry: Geometry) -> Geometry:
    """The geometry without timm's name for it."""
    return replace(geometry, timm=None)
