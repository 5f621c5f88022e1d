"""Names and paths to models ready to run (the bundled ones, timm's, files that a person names), and their list."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import timm
from huggingface_hub import try_to_load_from_cache
from torch import nn

from core.backbones import deit
from core.cards import ModelCard, load_weights, read_card, read_checkpoint
from core.config import ModelSpec, Normalisation, Packaging
from core.errors import InputError
from core.macs import count_macs
from core.releases import deit_geometry, read_pickle, released_classes
from core.results import Architecture, Gates
from core.single_path.calibrate import use_budget
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of, settled
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import above, check_keep, own_decision, top_share
from core.soft_tokens.model import SoftTokenViT

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TIMM_NAMES = (
    "deit_tiny_patch16_224.fb_in1k",
    "deit_small_patch16_224.fb_in1k",
    "deit_base_patch16_224.fb_in1k",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "deit_small_distilled_patch16_224.fb_in1k",
    "deit_base_distilled_patch16_224.fb_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
)
"""What `models` lists of timm; any other deit_* or vit_* with standard blocks and a class token loads by name too."""


@dataclass(frozen=True)
class ModelEntry:
    """One line of `models`."""

    name: str
    source: str
    """"bundled" or "timm"."""
    family: str
    method: str
    """"dense", "tokens" or "singlepath"."""
    available: bool
    """Loads without a network."""
    note: str


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
        """Which pruning it carries: "dense", "tokens" or "singlepath"."""
        return method_of(self.card)


def method_of(card: ModelCard) -> str:
    """Which pruning a card's model carries: "dense", "tokens" or "singlepath"."""
    if card.selectors is not None:
        return "tokens"
    return "singlepath" if card.single_path is not None else "dense"


def list_models() -> tuple[ModelEntry, ...]:
    """What can be loaded by name, bundled models first."""
    return (*_bundled(), *_timm())


def _bundled() -> list[ModelEntry]:
    entries = []
    for path in sorted(ASSETS.glob("bundled-*.safetensors")):
        try:
            card = read_card(path)
        except InputError as error:
            entries.append(ModelEntry(path.stem, "bundled", "unknown", "dense", False, str(error)))
            continue
        geometry = card.geometry
        note = (
            f"{geometry.classes} classes, {geometry.grid[0]} x {geometry.grid[1]} patches of {geometry.img_size} pixels"
        )
        if card.single_path is not None and not card.single_path.fit_to_predict:
            note += "; gates only, not fit to predict yet"
        if card.selectors is not None and not card.selectors.trained:
            note += "; selectors not trained"
        entries.append(ModelEntry(path.stem, "bundled", card.family, method_of(card), True, note))
    return entries


def _timm() -> list[ModelEntry]:
    entries = []
    for name in TIMM_NAMES:
        here = cached_weights(name)
        note = "ImageNet-1k, 1000 classes" + ("" if here else "; downloads once from the hub, needs a network")
        entries.append(ModelEntry(name, "timm", deit.FAMILY, "dense", here, note))
    return entries


def cached_weights(name: str) -> bool:
    """Whether timm's weights of this name lie in the hub cache; looks at the disk only.

    Raises:
        InputError: If timm has this model, but not with this tag.
    """
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        raise InputError(f"timm has no weights {name}; `python -m core models` lists some that it has.") from error
    if config is None or not config.hf_hub_id:
        return False
    repo = config.hf_hub_id
    if repo.endswith("/"):
        repo += f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    return any(
        isinstance(try_to_load_from_cache(repo, file), str) for file in ("model.safetensors", "pytorch_model.bin")
    )


def load_model(
    name_or_path: str,
    *,
    budget: float | None = None,
    keep: tuple[float, ...] | None = None,
    threshold: float | None = None,
    packaging: str = "weighted_mean",
) -> nn.Module:
    """A model in evaluation mode: normalised images (B, 3, H, W) to logits (B, C).

    Args:
        name_or_path: A name that `list_models` gives, any other plain deit_* or vit_* of timm, or a weights file.
        budget: MACs, for single-path models.
        keep: Per selector, the share of the original patches still alive after it, never rising.
        threshold: Keep patches whose keep probability is above this, in [0, 1).
        packaging: "weighted_mean" or "weighted_sum".

    Raises:
        InputError: If there is no such model, its weights are not to be had, or a setting does not fit it.
    """
    return load(ModelSpec(name_or_path, budget, keep, threshold, packaging)).model


def load(spec: ModelSpec, *, download: bool = False, weights: bool = True) -> Loaded:
    """The model of `spec` with its card.

    Args:
        spec: Name and settings.
        download: Fetch timm's weights if they are not cached.
        weights: False: with random weights where weights would have to be fetched; enough to count.

    Raises:
        InputError: See `load_model`.
    """
    module, card = read_model(spec.name, download=download, weights=weights)
    return _finish(spec, card, module)


def read_model(name: str, *, download: bool = False, weights: bool = True) -> tuple[nn.Module, ModelCard]:
    """The module as it is stored and trained (for single-path models the search form), and its card.

    Raises:
        InputError: If there is no such model, or its weights are not to be had.
    """
    path = _file_of(name)
    if path is None:
        return _load_timm(name, download=download, weights=weights)
    if path.suffix in (".pth", ".pt", ".bin"):
        state = read_pickle(path)
        geometry = deit_geometry(state, path)
        module: nn.Module = deit.build(geometry)
        card = ModelCard(deit.FAMILY, geometry, released_classes(geometry.classes), Normalisation(crop_pct=0.875))
    else:
        state, card = read_checkpoint(path)
        module = empty_model(card)
    load_weights(module, state, path)
    return module, card


def empty_model(card: ModelCard) -> nn.Module:
    """The module that a card describes, with fresh weights."""
    backbone = deit.build(card.geometry)
    if card.selectors is not None:
        return SoftTokenViT(backbone, card.selectors.blocks)
    if card.single_path is not None:
        return SinglePathViT(backbone, card.single_path.alpha, card.single_path.budgets)
    return backbone


def _file_of(name: str) -> Path | None:
    """The file behind a name, or None for a name of timm's.

    Raises:
        InputError: If the name looks like a file or a bundled model and is none.
    """
    unknown = InputError(f"There is no model {name[:80]}; `python -m core models` lists what can be loaded.")
    try:
        bundled = ASSETS / f"{name}.safetensors"
        if bundled.is_file():
            return bundled
        path = Path(name).expanduser()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, or somebody's home that is not here
        raise unknown from error
    if path.suffix in (".safetensors", ".pth", ".pt", ".bin") or path.is_file():
        return path
    if name.startswith("bundled-") or "/" in name or not timm.is_model(name):
        raise unknown
    return None


def _load_timm(name: str, *, download: bool, weights: bool) -> tuple[nn.Module, ModelCard]:
    """timm's model, from the cache or, if asked, from the hub."""
    here = cached_weights(name)
    fetch = weights and (download or here)
    if weights and not fetch:
        raise InputError(
            f"The weights of {name} are not on this machine; download them once, or choose a bundled model."
        )
    model = deit.from_timm(name, pretrained=fetch)
    geometry = deit.geometry_of(model, name)
    return model, ModelCard(deit.FAMILY, geometry, released_classes(geometry.classes), deit.normalisation_of(model))


def _finish(spec: ModelSpec, card: ModelCard, module: nn.Module) -> Loaded:
    """Apply the settings of `spec`, refuse those that the model does not have, and freeze."""
    if (spec.keep is not None or spec.threshold is not None) and not isinstance(module, SoftTokenViT):
        raise InputError(f"{spec.name} has no token selectors, so it takes no keep ratio and no threshold.")
    if spec.packaging not in get_args(Packaging):
        raise InputError(f"Packaging is {' or '.join(get_args(Packaging))}; not {spec.packaging}.")
    if spec.budget is not None and not isinstance(module, SinglePathViT):
        raise InputError(f"{spec.name} has no gates, so it takes no budget.")
    gates = architecture = None
    stored = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, SoftTokenViT):
        _set_decision(module, spec, card)
    elif isinstance(module, SinglePathViT):
        gates = gates_of(module, card.geometry)
        architecture = _choose(module, gates, spec)
        module = compact(module, architecture)
    module.eval().requires_grad_(False)
    return Loaded(spec, card, module, gates, architecture, count_macs(card.geometry).total, stored)


def _choose(module: SinglePathViT, gates: Gates, spec: ModelSpec) -> Architecture:
    """The architecture that a single-path model runs: of its budget, or of the calibrated budget next below it.

    Without a budget: the gates' own decisions, or the largest calibrated budget.

    Raises:
        InputError: If the budget is below what can be reached, or below all that the model was trained for.
    """
    if not module.budgets:
        return settled(gates) if spec.budget is None else derive(gates, spec.budget)
    dense = count_macs(gates.geometry).total
    asked = dense if spec.budget is None else spec.budget
    fitting = [i for i, share in enumerate(module.budgets) if share * dense <= asked * (1 + 1e-9)]
    if not fitting:
        least = module.budgets[0]
        raise InputError(
            f"{spec.name} was trained to work from {least:.0%} of the dense MACs on ({least * dense / 1e9:.4g} GMACs); "
            f"ask for that or more."
        )
    use_budget(module, fitting[-1])
    return derive(gates, module.budgets[fitting[-1]] * dense)


def _set_decision(module: SoftTokenViT, spec: ModelSpec, card: ModelCard) -> None:
    """How this model decides: by keep ratio, by threshold, or by itself."""
    if spec.keep is not None and spec.threshold is not None:
        raise InputError("Give a keep ratio or a threshold, not both.")
    if spec.threshold is not None and not 0 <= spec.threshold < 1:
        raise InputError(f"A threshold lies between 0 and 1; {spec.threshold} does not.")
    module.packaging = spec.packaging
    if spec.keep is not None:
        module.decide = top_share(check_keep(spec.keep, len(module.blocks)), card.geometry.patches)
    else:
        module.decide = own_decision if spec.threshold is None else above(spec.threshold)
