"""Latency by keep ratio of a model whose blocks differ: measured whole at some ratios, read off between them.

A latency table holds one kind of block; a model that single-path pruning has changed has many.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from core.costs.geometry import Geometry
from core.latency.measure import device_name, interleaved
from core.latency.random_models import dense_form
from core.latency.steadiness import rising, swing
from core.results.timings import CostCurve
from core.soft_tokens.decide import top_share
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import keep_powers, schedule_macs

RATIOS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
"""Of the patches that reach it, what every selector keeps where the model is measured."""
REPEATS = 7


@torch.inference_mode()
def measure_curve(
    model: SoftTokenViT,
    geometry: Geometry,
    *,
    batch: int = 1,
    repeats: int = REPEATS,
    between: Callable[[], object] | None = None,
) -> CostCurve:
    """Time the model at `RATIOS`, and the dense model, in turns; two or three seconds for a small one.

    Args:
        model: With its selectors folded, in evaluation mode, on the device to measure.
        geometry: Of the dense model.
        batch: Images per pass.
        repeats: Timed passes of each.
        between: See `core.latency.measure.interleaved`.
    """
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    keeps = {}  # by cost: on a small grid two ratios may keep as many patches
    for keep in (keep_powers(ratio, model.patches) for ratio in RATIOS):
        keeps[schedule_macs(geometry, model.blocks, keep, model.layers).total] = keep
    macs = sorted(keeps)
    works = [partial(model.run, images, top_share(keeps[cost], model.patches), record=False) for cost in macs]
    works.append(partial(dense_form(geometry, device), images))
    spent: list[tuple[float, float]] = []
    rounds = interleaved(works, repeats, device, 1, between=between, spent=spent)  # (repeats, works)
    *times, dense_ms = np.median(rounds, axis=0).tolist()
    where = device_name(device), torch.get_num_threads(), batch
    return CostCurve(*where, tuple(macs), tuple(rising(times)), dense_ms, swing(rounds, spent))


def curve_ms(curve: CostCurve, macs: int) -> float:
    """Milliseconds of one pass at this cost, on straight lines between what was measured; flat beyond it."""
    return float(np.interp(macs, curve.macs, curve.ms))


def scaled_curve(curve: CostCurve, factor: float) -> CostCurve:
    """The curve with all of its times multiplied by `factor`, more than 0."""
    return replace(curve, ms=tuple(factor * ms for ms in curve.ms), dense_ms=factor * curve.dense_ms)
