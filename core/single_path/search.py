"""The search's cost term: expected multiply-adds of the gates, pulled to a budget."""

import torch
from torch import Tensor

from core.config import Geometry
from core.macs import count_macs, ffn_macs, mixer_macs
from core.single_path.derive import BY_OPEN_GATES
from core.single_path.gates import nest
from core.single_path.model import SinglePathViT

DEIT_T_GMACS = 1.2536832
DEIT_T_WEIGHT = 20.0


def expected_macs(model: SinglePathViT, geometry: Geometry) -> Tensor:
    """Expected MACs over the gates' draws, a scalar with gradients.

    M = fixed + sum over blocks of g_1 C_1x1 + g_2 (C_3x3 - C_1x1) + g_3 (C_msa - C_3x3) + 2 T D sum of FFN gates,
    with each gate at its probability.

    Source: He et al. 2021, arXiv:2111.11802, computational complexity in the search objective.
    """
    tokens = geometry.patches + geometry.prefix_tokens
    ladder = torch.tensor([float(mixer_macs(mixer, geometry, tokens)) for mixer in BY_OPEN_GATES])
    steps = ladder.diff().to(next(model.parameters()).device)  # (3,): 1x1, 3x3 over 1x1, MSA over 3x3
    fixed = count_macs(geometry, mixers=["skip"] * geometry.depth, ffn_hidden=[0] * geometry.depth).total
    mixers = sum((nest(path.mixer_logits.sigmoid()) * steps).sum() for path in model.paths)
    units = sum(path.ffn_logits.sigmoid().sum() for path in model.paths)
    return fixed + mixers + units * ffn_macs(tokens, geometry.width, 1)


def cost_weight(geometry: Geometry) -> float:
    """lambda for this size of model: the paper's 20 for DeiT-T, divided by the square of the size.

    The term is lambda (M - budget)^2 in G, so a model of twice the size has four times the term for the same share;
    this gives 1.5 for DeiT-S and 0.1 for DeiT-B, where the paper has 3 and 0.06 to 0.08.
    """
    return DEIT_T_WEIGHT * (DEIT_T_GMACS / (count_macs(geometry).total / 1e9)) ** 2
