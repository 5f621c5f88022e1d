"""Latency of single-path architectures, predicted: each part is measured once on this machine, then added up.

Parts are timed inside whole networks of the compact layers that really run, all blocks alike, so that what surrounds
them (norms, residual sums, memory traffic between blocks) is in the times.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from core.costs.geometry import Geometry
from core.families.families import stages_of
from core.latency.measure import device_name, interleaved
from core.latency.steadiness import rising, swing
from core.results import MIXERS, Architecture, Mixer
from core.results.timings import PathCosts, StagedCosts
from core.single_path.compact import carve

QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the dense FFN width that are measured."""
GROWING: tuple[Mixer, ...] = ("skip", "conv1x1", "conv3x3")
"""Each does what the one before it does, and more; an attention is other work, which may even be faster."""
REPEATS = (3, 12)
"""Fewest and most timed passes of each network."""
PATIENCE_MS = 900.0
"""What all timed passes together may take, as long as the fewest are made."""


@torch.inference_mode()
def measure_path(
    backbone: nn.Module, geometry: Geometry, *, batch: int = 1, between: Callable[[], object] | None = None
) -> PathCosts | StagedCosts:
    """Time every mixer, the FFN at five widths, and the rest; three or four seconds for a small model.

    Args:
        backbone: The dense network of the search form, in evaluation mode, on the device to measure; left as it is.
        geometry: Of it.
        batch: Images per pass.
        between: See `core.latency.measure.interleaved`.
    """
    device = next(backbone.parameters()).device
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    depths = [len(stage.blocks) for stage in stages_of(backbone)]
    ends = np.cumsum(depths)
    widths = [sorted({round(share * geometry.ffn_widths[end - 1]) for share in QUARTERS}) for end in ends]
    kinds: list[tuple[int, Mixer, int]] = []
    for stage in range(len(depths)):
        kinds.extend((stage, mixer, 0) for mixer in MIXERS)
        kinds.extend((stage, "msa", width) for width in widths[stage][1:])
    works = [partial(_uniform(backbone, *kind), images) for kind in kinds]
    works.append(partial(_without_blocks(backbone), images))
    round_ms = float(interleaved(works, 1, device, 1, between=between).sum())
    repeats = int(np.clip(PATIENCE_MS / round_ms, *REPEATS))
    spent: list[tuple[float, float]] = []
    rounds = interleaved(works, repeats, device, 0, between=between, spent=spent)  # (repeats, works)
    *whole, rest = np.median(rounds, axis=0).tolist()
    swings = swing(rounds, spent)
    of_kind = dict(zip(kinds, whole, strict=True))

    def costs(stage: int) -> PathCosts:
        def per_block(kind: tuple[Mixer, int], without: float) -> float:
            return max(0.0, (of_kind[stage, *kind] - without) / depths[stage])  # noise below 0 counts as 0

        empty = of_kind[stage, "msa", 0]
        mixers = {mixer: per_block((mixer, 0), rest) for mixer in MIXERS}
        mixers |= zip(GROWING, rising([mixers[mixer] for mixer in GROWING]), strict=True)
        return PathCosts(
            device=device_name(device),
            threads=torch.get_num_threads(),
            batch=batch,
            mixer_ms=mixers,
            ffn_hidden=tuple(widths[stage]),
            ffn_ms=(0.0, *rising([per_block(("msa", width), empty) for width in widths[stage][1:]])),
            rest_ms=rest,
            swing=swings,
        )

    stages = tuple(costs(stage) for stage in range(len(depths)))
    return stages[0] if len(stages) == 1 else StagedCosts(stages, tuple(depths))


def path_ms(costs: PathCosts | StagedCosts, architecture: Architecture) -> float:
    """Milliseconds of one pass: the rest, and for each block its mixer and its FFN.

    Args:
        costs: Of the device.
        architecture: Of the model that was measured; FFN widths between two measured ones lie on a straight line.
    """
    return costs.rest_ms + sum(block_ms(costs, architecture))


def scaled_path(costs: PathCosts | StagedCosts, factor: float) -> PathCosts | StagedCosts:
    """The same with all of its times multiplied by `factor`, more than 0."""
    if isinstance(costs, StagedCosts):
        return replace(costs, stages=tuple(_scaled(stage, factor) for stage in costs.stages))
    return _scaled(costs, factor)


def _scaled(costs: PathCosts, factor: float) -> PathCosts:
    mixers = {mixer: factor * ms for mixer, ms in costs.mixer_ms.items()}
    ffn = tuple(factor * ms for ms in costs.ffn_ms)
    return replace(costs, mixer_ms=mixers, ffn_ms=ffn, rest_ms=factor * costs.rest_ms)


def block_ms(costs: PathCosts | StagedCosts, architecture: Architecture) -> list[float]:
    """Milliseconds of each block, L of them."""
    made = zip(architecture.mixers, architecture.ffn_hidden, strict=True)
    if isinstance(costs, StagedCosts):
        each = [stage for stage, depth in zip(costs.stages, costs.depths, strict=True) for _ in range(depth)]
    else:
        each = [costs] * len(architecture.mixers)
    return [
        cost.mixer_ms[mixer] + float(np.interp(hidden, cost.ffn_hidden, cost.ffn_ms))
        for cost, (mixer, hidden) in zip(each, made, strict=True)
    ]


def _uniform(backbone: nn.Module, stage: int, mixer: Mixer, hidden: int) -> nn.Module:
    """A network with the blocks of one stage alone, all alike; shares the weights of `backbone` that it keeps."""
    plain = _sharing(backbone)
    depths = [len(one.blocks) for one in stages_of(plain)]
    chosen = [(mixer, hidden) if at == stage else ("skip", 0) for at, depth in enumerate(depths) for _ in range(depth)]
    carve(plain, *zip(*chosen, strict=True))
    for at, one in enumerate(stages_of(plain)):
        if at != stage:
            one.blocks = nn.Sequential()
    return plain.eval()


def _without_blocks(backbone: nn.Module) -> nn.Module:
    plain = _sharing(backbone)
    for one in stages_of(plain):
        one.blocks = nn.Sequential()
    return plain.eval()


def _sharing(backbone: nn.Module) -> nn.Module:
    """A copy of the modules with the very same weights: replacing a layer in it leaves `backbone` alone."""
    return copy.deepcopy(backbone, {id(weight): weight for weight in backbone.parameters()})
