"""The search's cost term: expected multiply-adds of the gates, pulled to a budget."""

import torch
from torch import Tensor

from core.config import Geometry
from core.macs import block_prices, count_macs
from core.results import BY_OPEN_GATES
from core.single_path.gates import nest
from core.single_path.model import SinglePathViT
from core.swin_counts import SWIN, SwinGeometry

ALPHA = {"deit": 0.01, "swin": 100.0}
"""Temperature of the head mixing by family, as in the release of arXiv:2111.11802."""
GATE_RATE = {"deit": 1e-3, "swin": 5e-4}
"""Learning rate of the gates by family, constant."""
DEIT_T_GMACS = 1.2536832
DEIT_T_WEIGHT = 20.0
SWIN_WEIGHTS = {
    "swin_tiny_patch4_window7_224": 2.8,
    "swin_small_patch4_window7_224": 0.4,
    "swin_base_patch4_window7_224": 0.1,
}
"""lambda of the paper's searches."""


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
    """lambda for this size of model: the paper's for DeiT-T or Swin-T, divided by the square of the size.

    The term is lambda (M - budget)^2 in G, so a model of twice the size has four times the term for the same share;
    20 for DeiT-T gives 1.5 for DeiT-S and 0.1 for DeiT-B, where the paper has 3 and 0.06 to 0.08. Its three Swins have
    their own; others scale from Swin-T.
    """
    if isinstance(geometry, SwinGeometry):
        same = {key: (SWIN[key].width, SWIN[key].depths, SWIN[key].img_size) for key in SWIN_WEIGHTS}
        for name, shape in same.items():
            if shape == (geometry.width, geometry.depths, geometry.img_size):
                return SWIN_WEIGHTS[name]
        tiny = "swin_tiny_patch4_window7_224"
        return SWIN_WEIGHTS[tiny] * (count_macs(SWIN[tiny]).total / count_macs(geometry).total) ** 2
    return DEIT_T_WEIGHT * (DEIT_T_GMACS / (count_macs(geometry).total / 1e9)) ** 2
