"""Measuring a latency table on this machine."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core.costs.geometry import Geometry
from core.families.block import PreNorm
from core.latency.measure import device_name, interleaved
from core.latency.steadiness import rising, swing
from core.results.timings import LatencyTable
from core.soft_tokens import one_image, packed
from core.soft_tokens.lean import lean_block
from core.soft_tokens.mixers import nearest_look
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.ranking import Choosing

POINTS = 14
"""Token counts that are measured, usually."""


def measure_table(
    model: SoftTokenViT,
    geometry: Geometry,
    *,
    batch: int = 1,
    repeats: int = 12,
    points: int = POINTS,
    on_round: Callable[[int, int], None] | None = None,
    between: Callable[[], object] | None = None,
) -> LatencyTable:
    """The table of `measure_beside` alone; the arguments as there."""
    options = {"batch": batch, "repeats": repeats, "points": points, "on_round": on_round, "between": between}
    return measure_beside(model, geometry, (), **options)[0]


@torch.inference_mode()
def measure_beside(
    model: SoftTokenViT,
    geometry: Geometry,
    others: Sequence[Callable[[], object]],
    *,
    batch: int = 1,
    repeats: int = 12,
    points: int = POINTS,
    on_round: Callable[[int, int], None] | None = None,
    between: Callable[[], object] | None = None,
) -> tuple[LatencyTable, tuple[float, ...]]:
    """Time all blocks in a row, as a model runs them, at a range of token counts; and a selector before them.

    What is neither counts as `rest`, at full length: an LV-ViT's head on every patch too, a hundredth of its work.

    Args:
        model: With at least one selector, in evaluation mode, on the device to measure.
        geometry: Of the dense model.
        others: Other work to time in the same rounds, such as what the table is to predict.
        batch: Images per pass.
        repeats: Timed passes of each.
        points: Token counts to measure; below 9 the gaps between them grow too wide for `check_table`.
        on_round: Called with the rounds done and in all.
        between: See `core.latency.measure.interleaved`.

    Returns:
        The table, and the median of each of `others` in milliseconds.
    """
    backbone, selector = model.backbone, next(iter(model.by_block().values())).fold()
    device = next(backbone.parameters()).device
    most, shape = geometry.patches + geometry.prefix_tokens, geometry.blocks()[0]
    least = min(most, max(2, most // 12) + geometry.prefix_tokens)
    counts = sorted({*np.linspace(least, most, points - 1).round().astype(int).tolist(), most + 3})
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    dense = torch.randn(batch, most, shape.width, device=device)
    works = [*others, partial(backbone, images), partial(_plain_blocks, model, dense)] + [
        partial(work, x)
        for x in (torch.randn(batch, tokens, shape.width, device=device) for tokens in counts)
        for work in (partial(_blocks, model), partial(_blocks_and_selector, model, geometry.prefix_tokens, selector))
    ]
    spent: list[tuple[float, float]] = []
    rounds = interleaved(works, repeats, device, 1, between=between, on_round=on_round, spent=spent)  # (repeats, works)
    beside, (whole, plain), parts = np.split(rounds.T, (len(others), len(others) + 2))
    times = parts.T.reshape(repeats, len(counts), 2)
    blocks = (np.median(times[..., 0], axis=0) / geometry.depth).tolist()
    selectors = np.median(times[..., 1] - times[..., 0], axis=0).clip(min=0).tolist()
    table = LatencyTable(
        device=device_name(device),
        threads=torch.get_num_threads(),
        batch=batch,
        width=shape.width,
        heads=shape.heads,
        ffn_hidden=shape.ffn,
        tokens=tuple(counts),
        block_ms=tuple(rising(blocks)),
        selector_ms=tuple(rising(selectors)),
        rest_ms=max(0.0, float(np.median(whole - plain))),
        swing=swing(rounds, spent),
    )
    return table, tuple(np.median(beside, axis=1).tolist())


def _plain_blocks(model: SoftTokenViT, x: Tensor) -> Tensor:
    """As timm runs them."""
    for block in model.backbone.blocks:
        x = block(x)
    return x


def _blocks(model: SoftTokenViT, x: Tensor) -> Tensor:
    """As a model with selectors runs them."""
    step = _step(x)
    for block in model.backbone.blocks:
        x = step(block, x)
    return x


def _blocks_and_selector(model: SoftTokenViT, prefix: int, selector: Choosing, x: Tensor) -> Tensor:
    """The same with one selector's work in the middle, whose decision is not followed."""
    middle = len(model.backbone.blocks) // 2
    step, looking = _step(x), nearest_look(model.backbone, middle)
    for index, block in enumerate(model.backbone.blocks):
        if index == middle:
            rest = (prefix, selector, model.decide, 0, model.packaging, looking)
            if len(x) == 1:
                one_image.prune(one_image.begin(x, prefix), *rest)
            else:
                packed.prune(packed.pack(x, prefix), x.shape[1] - prefix, *rest)
        x = step(block, x)
    return x


def _step(x: Tensor) -> Callable[[PreNorm, Tensor], Tensor]:
    """How a model with selectors runs a block: one photo's leanly."""
    return lean_block if len(x) == 1 else lambda block, tokens: block(tokens)
