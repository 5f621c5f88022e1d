"""Measuring a latency table on this machine."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core.config import Geometry
from core.latency import device_name, interleaved
from core.soft_tokens import one_image, packed
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.selector import Folded
from core.timings import LatencyTable

POINTS = 14
"""Token counts that are measured."""


@torch.inference_mode()
def measure_table(
    model: SoftTokenViT,
    geometry: Geometry,
    *,
    batch: int = 1,
    repeats: int = 12,
    on_point: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Time all blocks in a row, as a model runs them, at a range of token counts; and a selector before them.

    Args:
        model: With at least one selector, in evaluation mode, on the device to measure.
        geometry: Of the dense model.
        batch: Images per pass.
        repeats: Timed passes of each.
        on_point: Called with the points done and in all.
    """
    backbone, selector = model.backbone, next(iter(model.selectors.values())).fold()
    device = next(backbone.parameters()).device
    most = geometry.patches + geometry.prefix_tokens
    least = min(most, max(2, most // 12) + geometry.prefix_tokens)
    points = sorted({*np.linspace(least, most, POINTS - 1).round().astype(int).tolist(), most + 3})
    blocks, selectors = [], []
    for done, tokens in enumerate(points):
        x = torch.randn(batch, tokens, geometry.width, device=device)
        works = (partial(_blocks, model, x), partial(_blocks_and_selector, model, x, geometry.prefix_tokens, selector))
        times = interleaved(works, repeats, device)
        blocks.append(float(np.median(times[:, 0])) / geometry.depth)
        selectors.append(max(0.0, float(np.median(times[:, 1] - times[:, 0]))))
        if on_point is not None:
            on_point(done + 1, len(points))
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    whole = interleaved((lambda: backbone(images),), repeats, device)[:, 0]
    rest = max(0.0, float(np.median(whole)) - geometry.depth * float(np.interp(most, points, blocks)))
    return LatencyTable(
        device=device_name(device),
        threads=torch.get_num_threads(),
        batch=batch,
        width=geometry.width,
        heads=geometry.heads,
        ffn_hidden=geometry.ffn_hidden,
        tokens=tuple(points),
        block_ms=tuple(blocks),
        selector_ms=tuple(selectors),
        rest_ms=rest,
    )


def _blocks(model: SoftTokenViT, x: Tensor) -> Tensor:
    for block in model.backbone.blocks:
        x = block(x)
    return x


def _blocks_and_selector(model: SoftTokenViT, x: Tensor, prefix: int, selector: Folded) -> Tensor:
    """The same with one selector's work in the middle, whose decision is not followed."""
    middle = len(model.backbone.blocks) // 2
    for index, block in enumerate(model.backbone.blocks):
        if index == middle:
            rest = (prefix, selector, model.decide, 0, model.packaging, block)
            if len(x) == 1:
                one_image.prune(one_image.begin(x, prefix), *rest)
            else:
                packed.prune(packed.pack(x, prefix), x.shape[1] - prefix, *rest)
        x = block(x)
    return x
