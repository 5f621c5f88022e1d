"""A released checkpoint file, whichever it is, as a model with its card; and the released ones by name."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from core.backbones import deit
from core.backbones.families import family
from core.cards import CompactCard, ModelCard
from core.errors import not_here
from core.published import Published, params_of, published
from core.releases.fetch import cached_file, download
from core.releases.lvvit import is_lvvit, read_lvvit
from core.releases.pickles import read_pickle
from core.releases.plain import NORMALISATION, deit_geometry, released_classes
from core.releases.single_path import is_single_path, read_single_path
from core.releases.soft_tokens import is_soft_tokens, read_soft_tokens
from core.releases.swin import is_swin, read_swin
from core.single_path.compact import carve
from core.weights import load_weights

DISTILLED = "_dist"
"""What a name ends in for the weights that were fine-tuned with hard distillation."""


def read_release(path: Path) -> tuple[nn.Module, ModelCard]:
    """The model in a pickled checkpoint, told by its keys.

    Raises:
        InputError: If the file is missing, damaged, would run code, or holds nothing that is known here.
    """
    state = read_pickle(path)
    if is_swin(state):
        return read_swin(state, path)
    if is_single_path(state):
        return read_single_path(state, path)
    if is_soft_tokens(state):
        return read_soft_tokens(state, path)
    if is_lvvit(state):
        return read_lvvit(state, path)
    geometry = deit_geometry(state, path)
    model = deit.build(geometry)
    load_weights(model, state, path)
    return model, ModelCard(deit.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION)


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
        InputError: If the file is not here and not to be had, or is damaged.
    """
    found, file = released_names()[name]
    path = cached_file(file)
    if path.is_file() or (weights and fetch):
        if not path.is_file():
            download(file, on_bytes)
        return read_release(path)
    if weights:
        raise not_here(name)
    geometry = found.geometry
    passes = {"prefix_passes": found.family == deit.FAMILY, "skip_passes": True}
    made = CompactCard(found.mixers, found.ffn_hidden, None, params_of(found).stored, **passes)
    model = carve(family(found.family).build(geometry), found.mixers, found.ffn_hidden, **passes)
    return model, ModelCard(found.family, geometry, released_classes(geometry.classes), NORMALISATION, compact=made)
