"""The architectures that He et al. published, arXiv:2111.11802: what they are and, counted here, what they cost."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from core.costs.deit import DEIT
from core.costs.geometry import Geometry
from core.costs.macs import block_prices, count_macs
from core.costs.params import ParamCount, count_params
from core.costs.swin import SWIN
from core.results import Architecture, Mixer

FILE = Path(__file__).resolve().parents[2] / "assets" / "published.json"
KNOWN: dict[str, Geometry] = {**DEIT, **SWIN}


@dataclass(frozen=True)
class Published:
    """One searched architecture and what was published for it, on ImageNet-1k; None where nothing was."""

    name: str
    """That of the release: size, weight of the cost term (l), budget (t)."""
    backbone: str
    """timm's name of the dense model."""
    family: Literal["deit", "swin"]
    mixers: tuple[Mixer, ...]
    """Per block from the input on, L of them; Swin's stages one after the other."""
    ffn_hidden: tuple[int, ...]
    """Hidden units left per block."""
    asked_macs: float
    """The budget of the search; all of them exceed it."""
    top1: float
    """Share in [0, 1], after fine-tuning."""
    top1_distilled: float | None
    """The same, after fine-tuning with hard distillation."""
    params_m: float | None
    """Millions of parameters of the stored form, as published."""
    gmacs: float | None
    """G multiply-adds, as published; `architecture_of` counts up to 0.11 more (DeiT-B)."""
    release_files: tuple[str, ...]
    """Checkpoints released for it: fine-tuned, and with distillation."""

    @property
    def geometry(self) -> Geometry:
        """Of the dense model."""
        return KNOWN[self.backbone]


@cache
def published() -> dict[str, Published]:
    """All of them by name, smallest first within each family."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["architectures"]
    return {name: _published(name, row) for name, row in rows.items()}


def architecture_of(found: Published) -> Architecture:
    """What became of each block, and the multiply-adds in closed form; `asked_macs` is None, since it is exceeded."""
    geometry, choice = found.geometry, {"mixers": found.mixers, "ffn_hidden": found.ffn_hidden}
    macs, dense = count_macs(geometry, **choice), count_macs(geometry)
    return Architecture(**choice, ffn_full=geometry.ffn_widths, macs=macs.total, dense_macs=dense.total)


def block_macs(found: Published) -> tuple[int, ...]:
    """Multiply-adds of each block, mixer and FFN together, L of them; Swin's patch merging is in none."""
    blocks = zip(block_prices(found.geometry), found.mixers, found.ffn_hidden, strict=True)
    return tuple(prices.mixers[mixer] + hidden * prices.unit for prices, mixer, hidden in blocks)


def params_of(found: Published) -> ParamCount:
    """Parameters in closed form, stored and compact."""
    return count_params(found.geometry, mixers=found.mixers, ffn_hidden=found.ffn_hidden)


def _published(name: str, row: dict) -> Published:
    figures = row["published"]
    distilled = figures["top1_distilled"]
    return Published(
        name=name,
        backbone=row["backbone"],
        family=row["backbone"].partition("_")[0],
        mixers=tuple(row["mixers"]),
        ffn_hidden=tuple(row["ffn_hidden"]),
        asked_macs=row["asked_gmacs"] * 1e9,
        top1=figures["top1"] / 100,
        top1_distilled=None if distilled is None else distilled / 100,
        params_m=figures.get("params_m"),
        gmacs=figures.get("gmacs"),
        release_files=tuple(row.get("release_files", ())),
    )
