"""Names and paths to models ready to run: the bundled ones, timm's, files that a person names."""

import copy
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import timm
from torch import nn

from core.config import Hints, ModelSpec, Packaging
from core.costs.macs import count_macs
from core.errors import FileNote, InputError, not_here, printable
from core.families.base import Family
from core.families.families import family, family_of_own, family_of_timm
from core.families.timm_models import check_classifier
from core.methods import METHODS, Kind, check_takes, kind_of, method_of_part, part_of
from core.models.cards import ModelCard
from core.models.hub import hub_file, is_of_hub
from core.models.registry import ASSETS, cached_weights
from core.models.releases.fetch import check_hub
from core.models.releases.files import NO_HINTS, load_released, read_release, released_names
from core.models.releases.plain import released_classes
from core.models.weights import holds_card, load_weights, read_checkpoint
from core.results import Architecture
from core.single_path.searched import Gates
from core.soft_tokens.method import set_decision
from core.soft_tokens.model import SoftTokenViT

WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".tar")
"""How the names of weights files mostly end: what has such a name is no model of timm's, whether it is there or not."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to run, and what is known of it."""

    spec: ModelSpec
    card: ModelCard
    model: nn.Module
    """In evaluation mode; normalised images (B, 3, H, W) to logits (B, C)."""
    gates: Gates | None
    """For single-path models."""
    architecture: Architecture | None
    """What the single-path model was made into; None for others."""
    dense_macs: int
    stored_params: int
    """Parameters of the form that is stored and trained; `model` may hold fewer."""

    @property
    def method(self) -> str:
        """Name of its `kind`."""
        return self.kind.name

    @property
    def kind(self) -> Kind:
        """What it carries of the methods."""
        return kind_of(self.card)


def load_model(
    name_or_path: str | os.PathLike,
    *,
    budget: float | None = None,
    keep: tuple[float, ...] | None = None,
    threshold: float | None = None,
    packaging: Packaging = "weighted_mean",
    blocks: tuple[int, ...] | None = None,
    mass: float | None = None,
    heads: int | tuple[int, ...] | None = None,
    arch: str | None = None,
    img_size: int | None = None,
) -> nn.Module:
    """A model in evaluation mode: normalised images (B, 3, H, W) to logits (B, C).

    Args:
        name_or_path: A name that `list_models` gives, any other plain deit_* or vit_* of timm, or a weights file.
        budget: MACs, for single-path models.
        keep: Per selector, the share of the original patches still alive after it, never rising.
        threshold: Keep patches whose keep probability is above this, in [0, 1).
        packaging: "weighted_mean" or "weighted_sum", for models with token selectors.
        blocks: In a model without selectors, rank patches by class attention before these blocks, from 0; with `keep`
            or `mass`, and None, before the usual ones.
        mass: Keep the fewest patches that hold this share of the class attention, in (0, 1].
        heads: Attention heads of a weights file that does not say them, one number or one for each stage.
        arch: timm's name for the model of such a file.
        img_size: Pixels that the model of such a file takes.

    Raises:
        InputError: If there is no such model, its weights are unavailable, or a setting does not fit it.

    Warns:
        FileNote: Of what a weights file does not say, and how it is taken.
    """
    each = (heads,) if isinstance(heads, int) else heads
    settings = (budget, keep, threshold, packaging, blocks, mass, each, arch, img_size)
    return load(ModelSpec(os.fspath(name_or_path), *settings)).model


def load(
    spec: ModelSpec,
    *,
    download: bool = False,
    weights: bool = True,
    headless: bool = False,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> Loaded:
    """The model of `spec` with its card.

    Args:
        spec: Name and settings.
        download: Fetch weights of timm or of a release if they are not cached.
        weights: False: with random weights where weights would have to be fetched; enough to count.
        headless: Take a backbone without a head, too, which training gives one.
        on_bytes: Called with the bytes done, and in all where that is known, while a release downloads.

    Raises:
        InputError: See `load_model`.
    """
    module, card = read_model(spec.name, spec.hints, download=download, weights=weights, on_bytes=on_bytes)
    if not card.classes and not headless:
        raise InputError(
            f"{spec.name} is a backbone and has no head to answer with; "
            "`python -m core train --probe --start-from` gives it one in minutes."
        )
    return finish(spec, card, module)


def read_model(
    name: str | os.PathLike,
    hints: Hints = NO_HINTS,
    *,
    download: bool = False,
    weights: bool = True,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> tuple[nn.Module, ModelCard]:
    """The module as it is stored and trained (for single-path models the search form), and its card.

    Args:
        name: A name that `list_models` gives, or a path.
        hints: Of a weights file of others, what it does not say.
        download: See `load`.
        weights: See there.
        on_bytes: See there.

    Raises:
        InputError: If there is no such model, its weights are unavailable, or it says itself what `hints` say.

    Warns:
        FileNote: Of what a weights file does not say, and how it is taken.
    """
    name = os.fspath(name)
    if is_of_hub(name):
        hub_file(name, fetch=download)
    path = None if name in released_names() else file_of(name)
    foreign = path is not None and not holds_card(path)
    if hints != NO_HINTS and not foreign:
        raise InputError(f"{printable(name, 80)} says itself what it is; omit --heads, --arch and --img-size.")
    if name in released_names():
        return load_released(name, fetch=download, weights=weights, on_bytes=on_bytes)
    if path is None and (own := family_of_own(name)):
        if weights:
            raise own.not_by_name(name)
        return _named(own, name)
    if path is None:
        return _load_timm(name, download=download, weights=weights)
    module, card = read_release(path, hints) if foreign else _read_ours(path)
    for note in card.notes:
        warnings.warn(note, FileNote, stacklevel=4)  # whoever called load_model
    return module, card


def _read_ours(path: Path) -> tuple[nn.Module, ModelCard]:
    """The model in a file that Prunescope wrote."""
    state, card = read_checkpoint(path)
    module = empty_model(card)
    load_weights(module, state, path)
    return module, card


def empty_model(card: ModelCard) -> nn.Module:
    """The module that a card describes, with fresh weights."""
    module = family(card.family).build(card.geometry)
    for part in kind_of(card).parts:
        module = method_of_part(part).build(module, card.geometry, getattr(card, part))
    return module


def file_of(name: str | os.PathLike) -> Path | None:
    """The file behind a name, or None for a name of timm's or of a family that timm lacks.

    Raises:
        InputError: If the name looks like a file or a bundled model and is none.
    """
    name = os.fspath(name)
    if is_of_hub(name):
        return hub_file(name)
    unknown = InputError(f"There is no model {printable(name, 80)}; `python -m core models` lists what can be loaded.")
    try:
        bundled = ASSETS / f"{name}.safetensors"
        if bundled.is_file():
            return bundled
        path = Path(name).expanduser()
        found = path.exists()
        os.fsencode(name)
        if "\0" in name:
            raise unknown
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # too long, or somebody's home that is not here
        raise unknown from error
    if path.suffix.lower() in WEIGHTS or (found and (path.is_file() or "/" in name)):
        return path
    if name.startswith("bundled-") or "/" in name or not (timm.is_model(name) or family_of_own(name)):
        raise unknown
    return None


def _load_timm(name: str, *, download: bool, weights: bool) -> tuple[nn.Module, ModelCard]:
    """timm's model, from the cache or, if asked, from the hub."""
    module = family_of_timm(name)
    check_classifier(name, module)
    here = cached_weights(name)
    fetch = weights and (download or here)
    if weights and not fetch:
        raise not_here(name)
    if fetch and not here:
        check_hub()
    return _named(module, name, pretrained=fetch)


def _named(module: Family, name: str, *, pretrained: bool = False) -> tuple[nn.Module, ModelCard]:
    """A family's model by its name there, and what is known of it."""
    model = module.from_timm(name, pretrained=pretrained)
    geometry = module.geometry_of(model, name)
    return model, ModelCard(module.FAMILY, geometry, released_classes(geometry.classes), module.normalisation_of(model))


def finish(spec: ModelSpec, card: ModelCard, module: nn.Module) -> Loaded:
    """Apply the settings of `spec`, refuse those that the model does not have, and freeze.

    Args:
        spec: Name and settings.
        card: Of the module.
        module: As `read_model` gives it. A single-path model serves again for another budget (its batch norms then hold
            this one's statistics); any other becomes the result itself.

    Raises:
        InputError: If a setting does not fit the model.
    """
    if spec.packaging not in get_args(Packaging):
        raise InputError(f"Packaging is {' or '.join(get_args(Packaging))}; not {spec.packaging}.")
    for method in METHODS:
        alone = len(kind_of(card).parts) <= 1
        if method.asks(spec, module, card.geometry, part_of(card, method), alone=alone):
            check_takes(method, card.family)
            module, said = method.put_in(spec, module)
            card = replace(card, **said)
    stored = sum(parameter.numel() for parameter in module.parameters())
    known: dict[str, Any] = {"gates": None, "architecture": None, "stored_params": stored}
    for part in kind_of(card).parts:
        module, found = method_of_part(part).finish(spec, module, card.geometry, getattr(card, part))
        known |= found
    module.eval().requires_grad_(False)
    return Loaded(spec, card, module, dense_macs=count_macs(card.geometry).total, **known)


def redecided(loaded: Loaded, spec: ModelSpec) -> Loaded:
    """A token-pruned model with another way to decide and fold, in the memory of the one that is there.

    Args:
        loaded: Of the same name; stays as it is.
        spec: Keep ratios, threshold or packaging.

    Raises:
        InputError: If a setting does not fit the model.
    """
    if not isinstance(loaded.model, SoftTokenViT):
        return finish(spec, loaded.card, loaded.model)  # ranks by attention, or refuses what it does not have
    model = copy.copy(loaded.model)
    set_decision(spec, model)
    return replace(loaded, spec=spec, model=model)
