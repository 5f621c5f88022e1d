"""What one training step costs: dense, and the search that puts gates into the same model, taking turns."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.families.families import family_of_geometry
from core.latency.measure import CPU, device_name, interleaved
from core.results import Architecture
from core.results.timings import StepCost
from core.single_path.derive import derive
from core.single_path.model import SinglePathViT
from core.single_path.search import cost_weight, gate_rate
from core.single_path.searched import Gates
from core.training.dense import DenseStep
from core.training.objectives import Objective
from core.training.precision import mixed_precision
from core.training.search import SearchStep, search_groups

BUDGET = 0.6
"""Share of the dense MACs that the search aims at; its steps cost the same for any."""
SLIDER_MS = 50.0
"""What deriving an architecture may take, or a slider feels dead."""


def compare_steps(geometry: Geometry, accelerator: Accelerator, *, batch: int, repeats: int = 8) -> StepCost:
    """Time whole training steps (forward, backward, optimiser) of both on the same noise, one after the other.

    Args:
        geometry: Of the dense model; its weights are random.
        accelerator: Device and precision, as in training.
        batch: Photos per step.
        repeats: Timed steps of each.
    """
    model = family_of_geometry(geometry).build(geometry).train()
    teacher = copy.deepcopy(model)
    dense_macs = count_macs(geometry).total
    dense, search = _dense(copy.deepcopy(model)), _search(copy.deepcopy(model), geometry, dense_macs)
    taught = _search(copy.deepcopy(model), geometry, dense_macs, Objective(teacher, "soft"))
    runs = [_runner(step, optimizer, accelerator) for step, optimizer in (dense, search, taught)]
    device = accelerator.device
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    targets = torch.randint(geometry.classes, (batch,), device=device)
    times = interleaved([partial(run, images, targets) for run in runs], repeats, device, 1, gradients=True)
    first, median, third = np.percentile(times, (25, 50, 75), axis=0)
    ratios = np.median(times / times[:, :1], axis=0)  # within one round, so that a slow moment hits both
    return StepCost(
        dense_ms=float(median[0]),
        dense_iqr_ms=float(third[0] - first[0]),
        search_ratio=float(ratios[1]),
        distilled_search_ratio=float(ratios[2]),
        batch=batch,
        repeats=repeats,
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=accelerator.mixed_precision,
    )


def derive_ms(geometry: Geometry, repeats: int = 20) -> float:
    """Median time to derive an architecture of `BUDGET` from random gates, milliseconds."""
    rng = np.random.default_rng(0)
    units = tuple(rng.normal(size=width) for width in geometry.ffn_widths)
    gates = Gates(geometry, rng.normal(size=(geometry.depth, 3)), units)
    budget = BUDGET * count_macs(geometry).total

    def derived() -> Architecture:
        return derive(replace(gates), budget)  # of a fresh copy: what is sorted once is part of the time

    return float(np.median(interleaved([derived], repeats, CPU, 1)))


def _dense(model: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
    return DenseStep(model), create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05)


def _search(
    model: nn.Module, geometry: Geometry, dense_macs: int, objective: Objective | None = None
) -> tuple[nn.Module, torch.optim.Optimizer]:
    gated = SinglePathViT(model, family_of_geometry(geometry).SEARCH.alpha)
    step = SearchStep(
        gated, geometry, budget=BUDGET * dense_macs, weight=cost_weight(geometry), objective=objective or Objective()
    )
    return step, create_optimizer_v2(
        search_groups(gated, lr=1e-4, gate_lr=gate_rate(geometry), weight_decay=0.05), opt="adamw"
    )


def _runner(
    step: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> Callable[[Tensor, Tensor], None]:
    step = step.to(accelerator.device).train()

    def run(images: Tensor, targets: Tensor) -> None:
        with mixed_precision(accelerator):
            loss, _ = step(images, targets, 0.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run
