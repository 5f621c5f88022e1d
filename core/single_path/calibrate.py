"""Batch norm statistics per budget: sub-networks of one set of weights see different inputs in their convolutions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.families.timm_models import statistics
from core.single_path.compact import derived_gating
from core.single_path.derive import derive, gates_of
from core.single_path.model import Path, SinglePathViT


def norms_of(path: Path) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    """The two batch norms of a block, in the order in which statistics are stored."""
    return path.bn_3x3, path.bn_1x1


@torch.no_grad()
def calibrate(model: SinglePathViT, geometry: Geometry, batches: Iterable[Tensor]) -> None:
    """Estimate the statistics of every budget of `model.budgets` and store them in the model, in place.

    For each budget: reset the batch norms, average the statistics over all batches, store, and at the end put the
    model's own back. Only the norms that this budget's architecture runs are estimated.

    Args:
        model: With `budgets`; left in evaluation mode.
        geometry: Of the dense model.
        batches: Images (B, 3, H, W) on the model's device, held-out training photos; walked through per budget.

    Source: Yu and Huang 2019, arXiv:1903.05134, batch norm calibration of shared weights.
    """
    gates, dense = gates_of(model, geometry), count_macs(geometry).total
    batches = list(batches)
    norms = [norm for path in model.paths for norm in norms_of(path)]
    own = [(torch.stack(statistics(norm)), norm.momentum) for norm in norms]
    model.eval()
    for index, share in enumerate(model.budgets):
        chosen = derive(gates, share * dense)
        gating = derived_gating(chosen, batches[0].device)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
            norm.train()
        for images in batches if {"conv3x3", "conv1x1"} & set(chosen.mixers) else ():  # else no norm runs
            model(images, gating)
        for stored, norm in zip(model.calibrated[index].flatten(0, 1), norms, strict=True):  # (2, d), the widest d
            stored[:, : norm.num_features] = torch.stack(statistics(norm))
    for norm, (before, momentum) in zip(norms, own, strict=True):
        _put(norm, before)
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def use_budget(model: SinglePathViT, index: int) -> None:
    """Put the stored statistics of `model.budgets[index]` into the batch norms, in place."""
    for path, stored in zip(model.paths, model.calibrated[index], strict=True):
        for norm, statistics_of_budget in zip(norms_of(path), stored, strict=True):
            _put(norm, statistics_of_budget)


def _put(norm: nn.BatchNorm2d, stored: Tensor) -> None:
    """Mean and variance, (2, c) or wider, into a batch norm, in place."""
    for own, value in zip(statistics(norm), stored, strict=True):
        own.copy_(value[: norm.num_features])
