"""What can be loaded by name, from where, and whether it is on this machine: a look at the disk, no network."""

from dataclasses import dataclass
from pathlib import Path

import timm
from huggingface_hub import try_to_load_from_cache

from core.backbones import deit
from core.cards import ModelCard
from core.errors import InputError
from core.published import params_of
from core.releases.fetch import cached_file
from core.releases.files import DISTILLED, released_names
from core.weights import read_card

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
    """"bundled", "timm" or "released"."""
    family: str
    method: str
    """"dense", "tokens", "singlepath" (with gates) or "compact" (what single-path pruning left)."""
    available: bool
    """Loads without a network."""
    note: str


def method_of(card: ModelCard) -> str:
    """Which pruning a card's model carries; see `ModelEntry.method`."""
    if card.selectors is not None:
        return "tokens"
    if card.single_path is not None:
        return "singlepath"
    return "dense" if card.compact is None else "compact"


def list_models() -> tuple[ModelEntry, ...]:
    """What can be loaded by name, bundled models first."""
    return (*_bundled(), *_timm(), *_released())


def _bundled() -> list[ModelEntry]:
    entries = []
    weights = (path for path in ASSETS.glob("bundled-*.safetensors") if not path.stem.endswith("-gates"))
    for path in sorted(weights):
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


def _released() -> list[ModelEntry]:
    entries = []
    for name, (found, file) in released_names().items():
        here = cached_file(file).is_file()
        top1 = found.top1_distilled if name.endswith(DISTILLED) else found.top1
        note = f"He et al., arXiv:2111.11802, ImageNet-1k, {top1:.1%} top-1 as published"
        if not here:
            note += f"; downloads once, about {params_of(found).stored * 4 / 1e6:.0f} MB, needs a network"
        entries.append(ModelEntry(name, "released", found.family, "compact", here, note))
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
