"""Speed of a pruned model beside its dense one, in one interleaved run, as efficiency = speed-up / MAC ratio."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.families.families import blocks_of, family_of_geometry, layout_of
from core.latency.engines import prepare
from core.latency.measure import interleaved
from core.results.timings import EAGER, ENGINES, SpeedRow
from core.soft_tokens.context import OneImage, context_of
from core.soft_tokens.decide import Decide, keep_counts, top_share
from core.soft_tokens.fixed import FixedKeepViT, SelectorsAlone
from core.soft_tokens.mixers import nearest_look
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.ranking import AttentionRanking, look
from core.soft_tokens.schedules import schedule_macs
from core.soft_tokens.selector import Scores, selector_scores
from core.soft_tokens.stages import Stage, image_macs
from core.soft_tokens.swin_gathered import random_look

SPREAD = 0.15
"""Standard deviation of the kept counts between the images of a batch, as a share of the mean, where they are drawn."""


def varied_top_share(keep: Sequence[float], patches: int | Sequence[int], batch: int, seed: int = 0) -> Decide:
    """Keep the best patches of each image, a different number in each: `keep` on average, normal around it.

    A batch of one keeps just ceil(share x N).

    Args:
        keep: For each selector the share of the original patches alive after it.
        patches: N, or N of the grid that each selector sees.
        batch: B.
        seed: Of the draw; the same for all selectors, so that an image is busy or plain throughout.
    """
    if batch == 1:
        return top_share(keep, patches)
    draw = torch.randn(batch, generator=torch.Generator().manual_seed(seed))
    factor = 1 + SPREAD * (draw - draw.mean())
    each = [patches] * len(keep) if isinstance(patches, int) else patches
    counts = [
        (count * factor).round().clamp(1, most).long()
        for count, most in zip(keep_counts(keep, each), each, strict=True)
    ]

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        value = scores.keep_logit.masked_fill(~alive, -torch.inf)
        rank = value.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (rank < counts[stage].to(rank.device)[:, None]) & alive

    return decide


def compare_tokens(
    model: SoftTokenViT,
    geometry: Geometry,
    images: Tensor,
    decide: Decide | None,
    name: str,
    repeats: int,
    dense: nn.Module | None = None,
) -> SpeedRow:
    """Dense against token-pruned on the same images, and what the selectors alone take.

    Args:
        model: In evaluation mode, on the images' device.
        geometry: Of the dense model.
        images: (B, 3, H, W), normalised.
        decide: None: the model's own decision.
        name: For the report.
        repeats: Timed passes of each.
        dense: The dense model; None: the model's backbone, which single-path pruning has not changed.
    """
    whole = model.backbone if dense is None else dense
    with torch.inference_mode():
        _, stages = model.run(images, decide)
        selectors = _selectors_alone(model, stages, geometry, images)

    macs = [count.total for count in image_macs(geometry, model.blocks, stages, model.layers)]
    works = (lambda: whole(images), lambda: model.run(images, decide, record=False), selectors)
    times = interleaved(works, repeats, images.device)
    kept = np.array([stage.kept.sum(dim=1).tolist() for stage in stages])
    counts = tuple((int(row.min()), int(row.max())) for row in kept)
    return _row(name, images, times, float(np.mean(macs)) / count_macs(geometry).total, counts)


def compare_fixed(
    model: SoftTokenViT,
    geometry: Geometry,
    keep: Sequence[float],
    images: Tensor,
    name: str,
    repeats: int,
    engine: str,
    dense: nn.Module | None = None,
) -> SpeedRow:
    """Dense against token-pruned at fixed keep ratios, both in the same engine, and the selectors alone in it.

    Args:
        model: In evaluation mode, on the images' device.
        geometry: Of the dense model.
        keep: Per selector, the share of the original patches alive after it.
        images: (B, 3, H, W), normalised.
        name: For the report.
        repeats: Timed passes of each.
        engine: One of `core.latency.engines.ENGINES`.
        dense: The dense model; None: the model's backbone.
    """
    fixed = FixedKeepViT(model, keep)
    alone = SelectorsAlone(fixed)
    tokens = alone.inputs(len(images), geometry.blocks()[0].width, images.device)
    works = [
        partial(prepare(module, engine, *inputs), *inputs)
        for module, inputs in ((dense or model.backbone, (images,)), (fixed, (images,)), (alone, tokens))
        if len(inputs)
    ]
    times = interleaved(works, repeats, images.device)
    share = schedule_macs(geometry, model.blocks, tuple(keep), model.layers).total / count_macs(geometry).total
    return _row(name, images, times, share, tuple((count, count) for count in fixed.counts.values()), engine)


def compare_models(
    dense: nn.Module,
    pruned: nn.Module,
    images: Tensor,
    mac_ratio: float,
    name: str,
    repeats: int,
    engine: str = EAGER,
) -> SpeedRow:
    """Dense against a model whose cost is the same for every image; `mac_ratio` is pruned over dense MACs."""
    works = [partial(prepare(module, engine, images), images) for module in (dense, pruned)]
    return _row(name, images, interleaved(works, repeats, images.device), mac_ratio, None, engine)


def _row(
    name: str,
    images: Tensor,
    times: np.ndarray,
    mac_share: float,
    kept: tuple[tuple[int, int], ...] | None,
    engine: str = EAGER,
) -> SpeedRow:
    """From times (repeats, 2 or 3), milliseconds: dense, pruned, selectors alone."""
    dense, pruned = times[:, 0], times[:, 1]
    speedup = float(np.median(dense / pruned))  # within one round, so that a slow moment hits both
    quarter = [float(np.subtract(*np.percentile(column, (75, 25)))) for column in (dense, pruned)]
    return SpeedRow(
        model=name,
        engine=ENGINES[engine],
        batch=len(images),
        dense_ms=float(np.median(dense)),
        dense_iqr_ms=quarter[0],
        pruned_ms=float(np.median(pruned)),
        pruned_iqr_ms=quarter[1],
        speedup=speedup,
        mac_ratio=1 / mac_share,
        efficiency=speedup * mac_share,
        selector_share=float(np.median(times[:, 2] / pruned)) if times.shape[1] > 2 else None,
        kept=kept,
    )


def _selectors_alone(
    model: SoftTokenViT, stages: list[Stage], geometry: Geometry, images: Tensor
) -> Callable[[], None]:
    """What the selectors compute in a run that left these records, on tokens of no meaning."""
    prefix, blocks = geometry.prefix_tokens, blocks_of(model.backbone)
    work: list[Callable[[], object]] = []
    for (at, selector), stage in zip(model.by_block().items(), stages, strict=True):
        counts = [int(seen) + prefix for seen in stage.seen]
        tokens = torch.randn(sum(counts), blocks[at].mlp.fc1.in_features, device=images.device)
        if isinstance(selector, AttentionRanking) and layout_of(model.backbone) == "windows":
            package = (stage.seen > stage.patches).to(images.device)
            work.append(random_look(blocks[at], ~stage.keep_prob.isnan(), package))
            continue
        if isinstance(selector, AttentionRanking):
            looking = nearest_look(model.backbone, at)
            work += [partial(look, looking, part[None]) for part in tokens.split(counts)]
            continue
        one = len(counts) == 1
        context = OneImage(counts[0], prefix) if one else context_of(counts, prefix, images.device)
        work.append(partial(selector_scores, selector.fold(), tokens, context))

    def run() -> None:
        for each in work:
            each()

    return run


def dense_form(geometry: Geometry, device: torch.device) -> nn.Module:
    """The dense model of this shape with random weights, likewise for timing alone."""
    return family_of_geometry(geometry).build(geometry).eval().requires_grad_(False).to(device)


def random_pair(
    geometry: Geometry, blocks: tuple[int, ...], device: torch.device, *, ranked: bool = False
) -> SoftTokenViT:
    """A model of this shape with random weights, for timing alone: what is measured does not depend on them.

    Where it is `ranked`, class attention stands in the place of selectors.
    """
    backbone = family_of_geometry(geometry).build(geometry)
    return SoftTokenViT(backbone, blocks, ranked=ranked).eval().requires_grad_(False).to(device).fold()
