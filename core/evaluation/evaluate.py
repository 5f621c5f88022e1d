"""Accuracy, MACs and throughput of a model on a folder of photos; the same numbers on one process or many."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.costs.geometry import Geometry
from core.errors import InputError
from core.evaluation.passes import one_pass
from core.evaluation.report import paired_interval
from core.latency import measure as latency
from core.models.runners import Answers, Baseline, Runner
from core.results import Evaluation
from core.soft_tokens.decide import AttentionLike, known_beforehand, random_like
from core.soft_tokens.method import token_runner
from core.soft_tokens.model import SoftTokenViT


def random_runner(model: SoftTokenViT, geometry: Geometry, seed: int) -> Baseline:
    """The rival: the same weights, as many patches per image and stage as the model keeps itself, chosen at random."""
    generator = torch.Generator().manual_seed(seed)

    def prepare(images: Tensor) -> Callable[[], Answers]:
        _, stages = model.run(images)
        rival = random_like([stage.kept.sum(dim=1) for stage in stages], generator)
        return partial(token_runner(model, geometry, rival), images)

    return Baseline(prepare)


def repeatable_random_runner(model: SoftTokenViT, geometry: Geometry, seed: int) -> Baseline:
    """The same rival, told the photos' paths: a photo's draw follows from the seed, its folder and its name alone.

    So it does not matter in which batch, or on which of several processes, a photo is seen.
    """

    def prepare(images: Tensor, paths: Sequence[str]) -> Callable[[], Answers]:
        _, stages = model.run(images)
        order = {  # (B, N), one for all selectors of a grid: subsets nest
            count: torch.stack([_random_order(path, count, seed) for path in paths]).to(images.device)
            for count in set(model.patches)
        }
        kept = [
            order[count] < stage.kept.sum(dim=1, keepdim=True)
            for count, stage in zip(model.patches, stages, strict=True)
        ]
        return partial(token_runner(model, geometry, known_beforehand(kept)), images)

    return Baseline(prepare)


def _random_order(path: str, patches: int, seed: int) -> Tensor:
    """A permutation of the patches, int (N,), drawn for one photo."""
    name = "/".join(Path(path).parts[-2:])
    drawn = hashlib.sha256(f"{seed} {name}".encode(errors="surrogateescape")).digest()
    return torch.randperm(patches, generator=torch.Generator().manual_seed(int.from_bytes(drawn[:7], "big")))


def attention_runner(model: SoftTokenViT, geometry: Geometry) -> Baseline:
    """The other rival: the same weights and counts, the patches that the class token attends to most."""

    def prepare(images: Tensor) -> Callable[[], Answers]:
        _, stages = model.run(images)
        rival = AttentionLike([stage.kept.sum(dim=1) for stage in stages])
        return partial(token_runner(model, geometry, rival), images)

    return Baseline(prepare)


@torch.inference_mode()
def evaluate(
    run: Runner,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    dense_macs: int,
    patches: int | Sequence[int],
    left_out: int = 0,
    gather: Callable[[tuple[Tensor, ...]], Iterable[Tensor]] = lambda parts: parts,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run over all photos of `loader` once.

    Args:
        run: What to evaluate; see `Runner`.
        loader: Batches of images and labels, in folder order; already on the right device. A label below 0 stands
            for a photo that could not be read: it is not counted.
        dense_macs: Of the dense model, for the report.
        patches: N of the grid that each selector sees; one number where it is the same for all.
        left_out: Photos of unknown classes, for the report.
        gather: Joins per-image tensors over processes (accelerate's gather_for_metrics).
        on_batch: Called with the number of photos done.

    Returns:
        Shares over all images; the class must match among all classes of the model. What a `Baseline` prepares is not
        in its images per second.

    Raises:
        InputError: If no photo could be read, or the answers are no numbers.
    """
    hits, macs, kept = [], [], []
    began, preparing_ms, done = latency.clock(), 0.0, 0
    for images, labels in loader:
        logits, cost, counts, took_ms, _ = one_pass(run, images)
        preparing_ms += took_ms
        top = logits.topk(min(5, logits.shape[-1]), dim=-1).indices  # (B, 5)
        match = top == labels.cpu()[:, None]
        parts = (match[:, 0], match.any(dim=1), cost, counts if counts is not None else cost[:, None], labels >= 0)
        *found, seen = (part.cpu() for part in gather(tuple(part.to(images.device) for part in parts)))
        first, five, cost, counts_all = (part[seen] for part in found)
        hits.append(torch.stack((first, five), dim=1))
        macs.append(cost)
        if counts is not None:
            kept.append(counts_all.double())
        done += len(first)
        if on_batch is not None:
            on_batch(done)
    seconds = latency.clock() - began - preparing_ms / 1e3
    hit = torch.cat(hits)
    if not len(hit):
        raise InputError("None of the photos to evaluate on can be read; mend or replace them.")
    return Evaluation(
        images=len(hit),
        left_out=left_out,
        top1=float(hit[:, 0].double().mean()),
        top5=float(hit[:, 1].double().mean()),
        mean_macs=float(torch.cat(macs).mean()),
        dense_macs=dense_macs,
        images_per_s=len(hit) / seconds,
        correct=tuple(hit[:, 0].tolist()),
        mean_kept=tuple((torch.cat(kept).mean(dim=0) / torch.tensor(patches)).tolist()) if kept else None,
    )


def paired_difference(first: Evaluation, *second: Evaluation) -> tuple[float, float | None]:
    """Top-1 of `first` minus that of `second` on the same photos, and half of its 95 % interval, as shares.

    Several `second` are draws of one random model, and averaged per photo; see
    `core.evaluation.report.paired_interval`, also for what one photo tells.

    Raises:
        ValueError: If they saw different numbers of photos.
    """
    if any(first.images != other.images for other in second):
        raise ValueError(f"{first.images} and {[other.images for other in second]} photos are no pairs")
    found = paired_interval(first.correct, np.mean([other.correct for other in second], axis=0))
    return found.mean, found.margin
