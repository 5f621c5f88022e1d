"""A released checkpoint file, whichever it is, as a model with its card; and the released ones by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from core.config import Hints
from core.errors import not_here
from core.families import deit, lvvit
from core.families.families import family
from core.models.cards import CompactCard, ModelCard, class_names
from core.models.releases.contents import open_contents
from core.models.releases.fetch import cached_file, download
from core.models.releases.gap import is_gap, read_gap
from core.models.releases.lvvit import is_lvvit, read_lvvit
from core.models.releases.pit import is_pit, read_pit
from core.models.releases.plain import NORMALISATION, read_plain, released_classes
from core.models.releases.single_path import is_single_path, read_single_path
from core.models.releases.soft_tokens import is_soft_tokens, read_soft_tokens
from core.models.releases.swin import is_swin, read_swin
from core.models.releases.told import Told, normalisation, told_by
from core.single_path.compact import carve
from core.single_path.published import Published, params_of, published

NO_HINTS = Hints()
ELSEWHERE = {"command": "trained elsewhere"}
"""What is known of how a file of others was made."""
DISTILLED = "_dist"
"""What a name ends in for the weights that were fine-tuned with hard distillation."""


def read_release(path: Path, hints: Hints = NO_HINTS) -> tuple[nn.Module, ModelCard]:
    """The model in a weights file of others, told by its keys; its card's notes say what the file does not.

    Args:
        path: A file that torch.save wrote, or safetensors.
        hints: What the person says of it.

    Raises:
        InputError: If the file is missing, damaged, would run code, or holds nothing that is known here.
    """
    contents = open_contents(path)
    told = told_by(contents, hints)
    model, card = _read(contents.state, path, told)
    usual, notes = normalisation(told, card.normalisation)
    if is_single_path(contents.state) or card.family == lvvit.FAMILY:
        notes = ()  # both releases prepare photos in one way
    classes = card.classes
    if told.labels is not None and len(told.labels) == len(classes):
        classes = class_names(told.labels)
    return model, replace(
        card,
        normalisation=usual,
        classes=classes,
        training=card.training or ELSEWHERE,
        notes=(*contents.notes, *card.notes, *notes),
    )


def _read(state: dict[str, Tensor], path: Path, told: Told) -> tuple[nn.Module, ModelCard]:
    """The model of some weights, whichever it is."""
    if is_swin(state):
        return read_swin(state, path, told)
    if is_single_path(state):
        return read_single_path(state, path, told)
    if is_soft_tokens(state):
        return read_soft_tokens(state, path)
    if is_lvvit(state):
        return read_lvvit(state, path, told)
    if is_pit(state):
        return read_pit(state, path, told)
    if is_gap(state):
        return read_gap(state, path, told)
    return read_plain(state, path, told)


def released_names() -> dict[str, tuple[Published, str]]:
    """Names of the released single-path models that can be loaded, each with its architecture and its file's name."""
    return {
        found.name + end: (found, file)
        for found in published().values()
        for end, file in zip(("", DISTILLED), found.release_files, strict=False)
    }


def load_released(
    name: str,
    *,
    fetch: bool = False,
    weights: bool = True,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> tuple[nn.Module, ModelCard]:
    """A released model by its name.

    Args:
        name: One of `released_names()`.
        fetch: Download the file if it is not cached.
        weights: False: with random weights where the file is not cached; enough to count.
        on_bytes: Called with the bytes done and in all, while it downloads.

    Raises:
        InputError: If the file is neither here nor available, or is damaged.
    """
    found, file = released_names()[name]
    path = cached_file(file)
    if path.is_file() or (weights and fetch):
        if not path.is_file():
            download(file, on_bytes)
        model, card = read_release(path)
        return model, replace(card, notes=())  # the name tells what the file does not
    if weights:
        raise not_here(name)
    geometry = found.geometry
    passes = {"prefix_passes": found.family == deit.FAMILY, "skip_passes": True}
    made = CompactCard(found.mixers, found.ffn_hidden, None, params_of(found).stored, **passes)
    model = carve(family(found.family).build(geometry), found.mixers, found.ffn_hidden, **passes)
    return model, ModelCard(found.family, geometry, released_classes(geometry.classes), NORMALISATION, compact=made)
