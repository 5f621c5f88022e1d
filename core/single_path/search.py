"""The search's cost term: expected multiply-adds of the gates, pulled to a budget; and the settings as published."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.costs.geometry import BlockShape, Geometry
from core.costs.macs import block_prices, count_macs
from core.families.families import family_of_geometry
from core.results import BY_OPEN_GATES
from core.single_path.gates import nest
from core.single_path.model import SinglePathViT


def expected_macs(model: SinglePathViT, geometry: Geometry) -> Tensor:
    """Expected MACs over the draws of a model's gates, a scalar with gradients; see `expected_cost`."""
    return expected_cost(
        [path.mixer_logits for path in model.paths], [path.ffn_logits for path in model.paths], geometry
    )


def expected_cost(mixer_logits: Sequence[Tensor], ffn_logits: Sequence[Tensor], geometry: Geometry) -> Tensor:
    """Expected MACs over the gates' draws, a scalar with gradients.

    M = fixed + sum over blocks of g_1 C_1x1 + g_2 (C_3x3 - C_1x1) + g_3 (C_msa - C_3x3) + 2 T D sum of FFN gates,
    with each block's own prices and each gate at its probability.

    Args:
        mixer_logits: Per block, (3,).
        ffn_logits: Per block, (F,).
        geometry: Of the dense model.

    Source: He et al. 2021, arXiv:2111.11802, computational complexity in the search objective.
    """
    prices = block_prices(geometry)
    ladder = torch.tensor([[float(price.mixers[mixer]) for mixer in BY_OPEN_GATES] for price in prices])  # (L, 4)
    steps = ladder.diff().to(mixer_logits[0].device)  # (L, 3): 1x1, 3x3 over 1x1, MSA over 3x3
    nothing = steps.new_zeros(())
    mixers = (nest(logits.sigmoid()) * step for logits, step in zip(mixer_logits, steps, strict=True))
    units = (logits.sigmoid().sum() * price.unit for logits, price in zip(ffn_logits, prices, strict=True))
    fixed = geometry.overhead(geometry.blocks()).total
    return fixed + sum((gates.sum() for gates in mixers), nothing) + sum(units, nothing)


def cost_weight(geometry: Geometry) -> float:
    """lambda for this model: as published; for a shape that nobody published, that of its family's smallest, scaled.

    The term is lambda (M - budget)^2 in G, so a model of twice the size has four times the term for the same share:
    lambda is divided by the square of the size. (From DeiT-T's 20 that gives 1.5 for DeiT-S and 0.1 for DeiT-B, of
    which 3 and 0.06 to 0.08 are published.)
    """
    published = family_of_geometry(geometry).SEARCH.published
    for known in published:
        if _shape(known.geometry) == _shape(geometry):
            return known.weight
    size = count_macs(geometry).total / count_macs(published[0].geometry).total
    return published[0].weight / size**2


def gate_rate(geometry: Geometry) -> float:
    """Learning rate of the gates, constant: as published for models of this size, whatever images they take.

    5e-4 for DeiT-S (12 blocks of width 384) and all Swins; 1e-3 for DeiT-T and DeiT-B, and for other sizes.
    """
    published = family_of_geometry(geometry).SEARCH.published
    for known in published:
        if _widths(known.geometry) == _widths(geometry):
            return known.gate_rate
    return published[0].gate_rate


def _widths(geometry: Geometry) -> list[int]:
    """D of each block."""
    return [block.width for block in geometry.blocks()]


def _shape(geometry: Geometry) -> tuple[int, list[BlockShape]]:
    """All that its cost depends on, but for prefix tokens and classes."""
    blocks = geometry.blocks()
    return geometry.overhead(blocks).embedding, [block._replace(tokens=block.patches) for block in blocks]
