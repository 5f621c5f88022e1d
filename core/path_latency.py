"""Latency of single-path architectures, foretold: each part is measured once on this machine, then added up.

Parts are timed inside whole networks of the compact layers that really run, all blocks alike, so that what surrounds
them (norms, residual sums, memory traffic between blocks) is in the times.
"""

import copy
from functools import partial

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from core.config import Geometry
from core.latency import device_name, interleaved
from core.results import MIXERS, Architecture, Mixer
from core.single_path.compact import carve
from core.timings import PathCosts

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the dense FFN width that are measured."""
REPEATS = (3, 12)
"""Fewest and most timed passes of each network."""
PATIENCE_MS = 900.0
"""What all timed passes together may take, as long as the fewest are made."""


@torch.inference_mode()
def measure_path(backbone: VisionTransformer, geometry: Geometry, *, batch: int = 1) -> PathCosts:
    """Time every mixer, the FFN at five widths, and the rest; about a second for a small model.

    Args:
        backbone: The dense network of the search form, in evaluation mode, on the device to measure; left as it is.
        geometry: Of it.
        batch: Images per pass.
    """
    device = next(backbone.parameters()).device
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    widths = sorted({round(share * geometry.ffn_hidden) for share in QUARTERS})
    kinds: list[tuple[Mixer, int]] = [*((mixer, 0) for mixer in MIXERS), *(("msa", width) for width in widths[1:])]
    works = [partial(_uniform(backbone, *kind), images) for kind in kinds]
    works.append(partial(_without_blocks(backbone), images))
    round_ms = float(interleaved(works, 1, device, warmup=1).sum())
    repeats = int(np.clip(PATIENCE_MS / round_ms, *REPEATS))
    *whole, rest = np.median(interleaved(works, repeats, device, warmup=0), axis=0).tolist()
    of_kind = dict(zip(kinds, whole, strict=True))
    empty = of_kind["msa", 0]
    return PathCosts(
        device=device_name(device),
        threads=torch.get_num_threads(),
        batch=batch,
        mixer_ms={mixer: _per_block(of_kind[mixer, 0] - rest, geometry) for mixer in MIXERS},
        ffn_hidden=tuple(widths),
        ffn_ms=(0.0, *(_per_block(of_kind["msa", width] - empty, geometry) for width in widths[1:])),
        rest_ms=rest,
    )


def path_ms(costs: PathCosts, architecture: Architecture) -> float:
    """Milliseconds of one pass: the rest, and for each block its mixer and its FFN.

    Args:
        costs: Of the device.
        architecture: Of the model that was measured; FFN widths between two measured ones lie on a straight line.
    """
    return costs.rest_ms + sum(block_ms(costs, architecture))


def block_ms(costs: PathCosts, architecture: Architecture) -> list[float]:
    """Milliseconds of each block, L of them."""
    ffn = np.interp(architecture.ffn_hidden, costs.ffn_hidden, costs.ffn_ms)  # (L,)
    return [costs.mixer_ms[mixer] + float(ms) for mixer, ms in zip(architecture.mixers, ffn, strict=True)]


def _uniform(backbone: VisionTransformer, mixer: Mixer, hidden: int) -> VisionTransformer:
    """A network whose blocks are all alike; shares the weights of `backbone` that it keeps."""
    depth = len(backbone.blocks)
    return carve(_sharing(backbone), [mixer] * depth, [hidden] * depth).eval()


def _without_blocks(backbone: VisionTransformer) -> VisionTransformer:
    plain = _sharing(backbone)
    plain.blocks = nn.Sequential()
    return plain.eval()


def _sharing(backbone: VisionTransformer) -> VisionTransformer:
    """A copy of the modules with the very same weights: replacing a layer in it leaves `backbone` alone."""
    return copy.deepcopy(backbone, {id(weight): weight for weight in backbone.parameters()})


def _per_block(difference: float, geometry: Geometry) -> float:
    """A difference of two whole networks, per block; noise below 0 counts as 0."""
    return max(0.0, difference / geometry.depth)
