"""What can be loaded by name, from where, and whether it is on this machine: a look at the disk, no network."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import timm
from huggingface_hub import try_to_load_from_cache

from core.costs.deit import DEIT
from core.costs.gap import GAP
from core.costs.geometry import Geometry
from core.costs.lvvit import LVVIT, aux_macs
from core.costs.macs import count_macs
from core.costs.params import count_params
from core.costs.pit import PIT
from core.costs.swin import SWIN
from core.errors import InputError
from core.families import lvvit
from core.families.families import FAMILIES, family_of_timm
from core.methods import COMPACT, DENSE, KINDS, Kind, kind_of, methods_sentence
from core.models.cards import ModelCard
from core.models.releases.fetch import cached_file
from core.models.releases.files import DISTILLED, released_names
from core.models.weights import read_card
from core.single_path.published import params_of

BYTES = 4
"""Per parameter, in single precision."""
ASSETS = Path(os.environ.get("PRUNESCOPE_ASSETS") or Path(__file__).resolve().parents[2] / "assets")
"""Where the bundled models, their records and the samples lie; the variable names another folder of that kind."""
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
    "deit3_small_patch16_224.fb_in22k_ft_in1k",
    "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "vit_base_patch16_clip_224.openai_ft_in1k",
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
    *(f"{name}.in1k" for name in PIT),
    *(f"{name.removesuffix('_224')}_distilled_224.in1k" for name in PIT),
    "vit_little_patch16_reg4_gap_256.sbb_in1k",
    "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "swin_small_patch4_window7_224.ms_in1k",
    "swin_base_patch4_window7_224.ms_in1k",
)
"""What `models` lists of timm that names classes; any other that is taken (`core.models.taken`) loads by name too."""
HEADLESS = (
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch14_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
)
"""What it lists of timm that gives features alone."""

LVVIT_TOP1 = {"lvvit_s": 0.833, "lvvit_m": 0.840}
"""Of LV-ViT's released files for 224 pixels, as published."""


@dataclass(frozen=True)
class ModelEntry:
    """One line of `models`."""

    name: str
    source: str
    """"bundled", "timm", "released", or "file" for a weights file that a person named."""
    family: str
    method: str
    """Name of its `kind`."""
    available: bool
    """Loads without a network."""
    note: str
    download_mb: float | None = None
    """About how large the download is, counted from the parameters in single precision; None: nothing to download, or
    nothing that comes by name."""

    @property
    def kind(self) -> Kind:
        """What it carries of the methods."""
        return KINDS[self.method]


def list_models() -> tuple[ModelEntry, ...]:
    """What can be loaded by name, bundled models first."""
    return tuple(map(_with_methods, (*_bundled(), *_timm(), *_headless(), *_released(), *_lvvit())))


def _with_methods(entry: ModelEntry) -> ModelEntry:
    """The same, its note saying which methods can prune it, if it is dense."""
    if entry.kind.pruned or entry.family not in FAMILIES:
        return entry
    said = methods_sentence(entry.family).removesuffix(".")
    note, later, rest = entry.note.partition("; downloads once")
    return replace(entry, note=f"{note}; {said[0].lower()}{said[1:]}{later}{rest}")


def _bundled() -> list[ModelEntry]:
    entries = []
    weights = (path for path in ASSETS.glob("bundled-*.safetensors") if not path.stem.endswith("-gates"))
    for path in sorted(weights):
        try:
            card = read_card(path)
        except InputError as error:
            entries.append(ModelEntry(path.stem, "bundled", "unknown", DENSE.name, False, str(error)))
            continue
        geometry = card.geometry
        note = (
            f"{geometry.classes} classes, {geometry.grid[0]} x {geometry.grid[1]} patches of {geometry.img_size} pixels"
        )
        if card.single_path is not None and not card.single_path.fit_to_predict:
            note += "; gates only, not fit to predict yet"
        if card.selectors is not None and not card.selectors.trained:
            note += "; selectors not trained"
        entries.append(ModelEntry(path.stem, "bundled", card.family, kind_of(card).name, True, note))
    return entries


def _timm() -> list[ModelEntry]:
    entries = []
    for name in TIMM_NAMES:
        here = cached_weights(name)
        module, geometry = family_of_timm(name), timm_geometry(name)
        size = count_params(geometry).stored * BYTES / 1e6
        note = "ImageNet-1k, 1000 classes"
        if not here:
            note += f"; downloads once from the hub, about {size:.0f} MB, needs a network"
        entries.append(ModelEntry(name, "timm", module.FAMILY, DENSE.name, here, note, None if here else size))
    return entries


def _headless() -> list[ModelEntry]:
    """What training gives a classifier: nothing that could be opened as it is."""
    return [
        ModelEntry(
            name,
            "timm",
            family_of_timm(name).FAMILY,
            DENSE.name,
            False,
            "features without a classifier; "
            f"`python -m core train --model {name} --pretrained --probe --data DIR` gives it one of your classes",
        )
        for name in HEADLESS
    ]


def timm_geometry(name: str) -> Geometry:
    """Of one of `TIMM_NAMES`: Swins, PiTs and GAP models by name, others have the shapes of the DeiT of their size."""
    for known in (SWIN, GAP):
        if name.partition(".")[0] in known:
            return known[name.partition(".")[0]]
    if name.startswith("pit_"):
        whole = PIT[name.partition(".")[0].replace("_distilled", "")]
        return replace(whole, prefix_tokens=2, distilled=True) if "_distilled_" in name else whole
    size = name.split("_")[1]
    plain = DEIT[f"deit_{size}_patch16_224"]
    return replace(plain, prefix_tokens=2, distilled=True) if "_distilled_" in name else plain


def _released() -> list[ModelEntry]:
    entries = []
    for name, (found, file) in released_names().items():
        here = cached_file(file).is_file()
        top1 = found.top1_distilled if name.endswith(DISTILLED) else found.top1
        note = f"He et al., arXiv:2111.11802, ImageNet-1k, {top1:.1%} top-1 as published"
        size = params_of(found).stored * BYTES / 1e6
        if not here:
            note += f"; downloads once, about {size:.0f} MB, needs a network"
        entries.append(ModelEntry(name, "released", found.family, COMPACT.name, here, note, None if here else size))
    return entries


def _lvvit() -> list[ModelEntry]:
    entries = []
    for name, top1 in LVVIT_TOP1.items():
        macs, aux = count_macs(LVVIT[name]).total / 1e9, aux_macs(LVVIT[name]) / 1e9
        note = (
            f"Jiang et al., arXiv:2104.10858, ImageNet-1k, {top1:.1%} top-1 as published; {macs:.2f} GMACs, "
            f"{macs - aux:.2f} without its auxiliary head; weights are given as a file, from {lvvit.RELEASE}"
        )
        entries.append(ModelEntry(name, "released", lvvit.FAMILY, DENSE.name, False, note))
    return entries


def entry_of_file(path: str, card: ModelCard) -> ModelEntry:
    """A weights file that a person named, once it has been read."""
    geometry = card.geometry
    note = (
        f"{geometry.classes:,} classes, {geometry.grid[0]} x {geometry.grid[1]} patches of {geometry.img_size} pixels"
    )
    return _with_methods(ModelEntry(path, "file", card.family, kind_of(card).name, True, note))


def cached_weights(name: str) -> bool:
    """Whether timm's weights of this name lie in the hub cache; looks at the disk only.

    Raises:
        InputError: See `hub_repo`.
    """
    repo = hub_repo(name)
    return repo is not None and any(
        isinstance(try_to_load_from_cache(repo, file), str) for file in ("model.safetensors", "pytorch_model.bin")
    )


def hub_repo(name: str) -> str | None:
    """Where on the hub timm's weights of this name lie, such as timm/deit_tiny_patch16_224.fb_in1k; None: nowhere.

    Raises:
        InputError: If timm has this model, but not with this tag.
    """
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        raise InputError(f"timm has no weights {name}; `python -m core models` lists some that it has.") from error
    if config is None or not config.hf_hub_id:
        return None
    repo = config.hf_hub_id
    if repo.endswith("/"):
        repo += f"{config.architecture}.{config.tag}" if config.tag else f"{config.architecture}"
    return repo
