"""Latency by keep ratio of a model whose blocks differ: measured whole at some ratios, read off between them.

A latency table holds one kind of block; a model that single-path pruning has changed has many.
"""

from functools import partial

import numpy as np
import torch

from core.config import Geometry
from core.latency import device_name, interleaved
from core.soft_tokens.decide import top_share
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import keep_powers, schedule_macs
from core.speed import dense_form
from core.timings import CostCurve

RATIOS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
"""Of the patches that reach it, what every selector keeps where the model is measured."""
REPEATS = 7


@torch.inference_mode()
def measure_curve(model: SoftTokenViT, geometry: Geometry, *, batch: int = 1, repeats: int = REPEATS) -> CostCurve:
    """Time the model at `RATIOS`, and the dense model, in turns; about a second for a small one.

    Args:
        model: With its selectors folded, in evaluation mode, on the device to measure.
        geometry: Of the dense model.
        batch: Images per pass.
        repeats: Timed passes of each.
    """
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    keeps = sorted({keep_powers(ratio, model.patches) for ratio in RATIOS})
    works = [partial(model.run, images, top_share(keep, model.patches), record=False) for keep in keeps]
    works.append(partial(dense_form(geometry, device), images))
    *times, dense_ms = np.median(interleaved(works, repeats, device, warmup=1), axis=0).tolist()
    macs = [schedule_macs(geometry, model.blocks, keep, model.layers).total for keep in keeps]
    return CostCurve(device_name(device), torch.get_num_threads(), batch, tuple(macs), tuple(times), dense_ms)


def curve_ms(curve: CostCurve, macs: int) -> float:
    """Milliseconds of one pass at this cost, on straight lines between what was measured; flat beyond it."""
    return float(np.interp(macs, curve.macs, curve.ms))
