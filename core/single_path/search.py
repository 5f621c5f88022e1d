"""The search's cost term: expected multiply-adds of the gates, pulled to a budget; and the settings as published."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from core.config import Geometry
from core.deit_counts import DEIT
from core.macs import block_prices, count_macs
from core.results import BY_OPEN_GATES
from core.single_path.gates import nest
from core.single_path.model import SinglePathViT
from core.swin_counts import SWIN, SwinGeometry

ALPHA = {"deit": 0.01, "swin": 100.0}
"""Temperature of the head mixing by family, as in the release of arXiv:2111.11802."""


class Settings(NamedTuple):
    """Of a published search."""

    weight: float
    """lambda, of the cost term in G."""
    gate_rate: float
    """Learning rate of the gates, constant."""


PUBLISHED = {
    "deit_tiny_patch16_224": Settings(20.0, 1e-3),
    "deit_small_patch16_224": Settings(3.0, 5e-4),
    "deit_base_patch16_224": Settings(0.08, 1e-3),  # towards 6 G; 0.06 towards 10
    "swin_tiny_patch4_window7_224": Settings(2.8, 5e-4),
    "swin_small_patch4_window7_224": Settings(0.4, 5e-4),
    "swin_base_patch4_window7_224": Settings(0.1, 5e-4),
}
"""By timm's names. Source: He et al. 2021, arXiv:2111.11802, and their release."""


def expected_macs(model: SinglePathViT, geometry: Geometry) -> Tensor:
    """Expected MACs over the gates' draws, a scalar with gradients.

    M = fixed + sum over blocks of g_1 C_1x1 + g_2 (C_3x3 - C_1x1) + g_3 (C_msa - C_3x3) + 2 T D sum of FFN gates,
    with each block's own prices and each gate at its probability.

    Source: He et al. 2021, arXiv:2111.11802, computational complexity in the search objective.
    """
    prices = block_prices(geometry)
    ladder = torch.tensor([[float(price.mixers[mixer]) for mixer in BY_OPEN_GATES] for price in prices])  # (L, 4)
    steps = ladder.diff().to(next(model.parameters()).device)  # (L, 3): 1x1, 3x3 over 1x1, MSA over 3x3
    fixed = count_macs(geometry, mixers=["skip"] * geometry.depth, ffn_hidden=[0] * geometry.depth).total
    mixers = sum(
        (nest(path.mixer_logits.sigmoid()) * step).sum() for path, step in zip(model.paths, steps, strict=True)
    )
    units = sum(path.ffn_logits.sigmoid().sum() * price.unit for path, price in zip(model.paths, prices, strict=True))
    return fixed + mixers + units


def cost_weight(geometry: Geometry) -> float:
    """lambda for this model: as published; for a shape that nobody published, that of DeiT-T or Swin-T, scaled.

    The term is lambda (M - budget)^2 in G, so a model of twice the size has four times the term for the same share:
    lambda is divided by the square of the size. (From DeiT-T's 20 that gives 1.5 for DeiT-S and 0.1 for DeiT-B, of
    which 3 and 0.06 to 0.08 are published.)
    """
    alike = _alike(geometry)
    for name, settings in alike.items():
        if _shape(_known(name)) == _shape(geometry):
            return settings.weight
    smallest = next(iter(alike))
    size = count_macs(geometry).total / count_macs(_known(smallest)).total
    return alike[smallest].weight / size**2


def gate_rate(geometry: Geometry) -> float:
    """Learning rate of the gates, constant: as published for models of this size, whatever images they take.

    5e-4 for DeiT-S (12 blocks of width 384) and all Swins; 1e-3 for DeiT-T and DeiT-B, and for other sizes.
    """
    alike = _alike(geometry)
    for name, settings in alike.items():
        if _size(_known(name)) == _size(geometry):
            return settings.gate_rate
    return next(iter(alike.values())).gate_rate


def _alike(geometry: Geometry) -> dict[str, Settings]:
    """Those of the same family, the smallest first."""
    names = SWIN if isinstance(geometry, SwinGeometry) else DEIT
    return {name: settings for name, settings in PUBLISHED.items() if name in names}


def _known(name: str) -> Geometry:
    return SWIN[name] if name in SWIN else DEIT[name]


def _size(geometry: Geometry) -> tuple:
    """Width, and blocks, of a Swin in each stage."""
    return geometry.width, geometry.depths if isinstance(geometry, SwinGeometry) else geometry.depth


def _shape(geometry: Geometry) -> Geometry:
    """All that its cost depends on, but for prefix tokens and classes."""
    prefix = {} if isinstance(geometry, SwinGeometry) else {"prefix_tokens": 1, "distilled": False}
    return replace(geometry, timm=None, classes=1, **prefix)
