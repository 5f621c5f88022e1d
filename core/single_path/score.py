"""Gates scored without training: what closing each would do to the dense model's own answer, on a few dozen photos.

No labels are needed: the reference is what the dense model answers. `gates_from` turns the scores into gate logits, so
that `derive` closes the gates that are worth least per multiply-add first, hidden units and mixers in one currency.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.config import LEAST_PHOTOS
from core.costs.geometry import Geometry
from core.costs.macs import block_prices
from core.errors import InputError
from core.families.block import PreNorm, prenorm
from core.families.families import blocks_of, walk
from core.results import BY_OPEN_GATES
from core.single_path.fit import fit_convolutions
from core.single_path.model import SinglePathViT
from core.single_path.searched import Gates

DRAWS = 4
"""Random directions per photo in which the answer's curvature is measured."""
SAME_ANSWER = 1e-6
"""Nats: photos whose answers differ by less all look alike to the model."""


@dataclass(frozen=True, eq=False)
class GateScores:
    """What closing gates costs, one at a time: KL(dense || changed) in nats, mean over photos."""

    geometry: Geometry
    photos: int
    mixers: np.ndarray
    """float (L, 4): the mixer of each block replaced by nothing, a 1x1, a 3x3 convolution, or left (0)."""
    units: tuple[np.ndarray, ...]
    """L of them, float (F,): each hidden unit replaced by its mean, to second order."""

    def __post_init__(self) -> None:
        if self.mixers.shape != (self.geometry.depth, len(BY_OPEN_GATES)):
            raise ValueError(f"{self.mixers.shape} for {self.geometry.depth} blocks")
        if [u.shape for u in self.units] != [(width,) for width in self.geometry.ffn_widths]:
            raise ValueError("units do not fit the geometry")


@torch.no_grad()
def set_means(model: SinglePathViT, images: Sequence[Tensor]) -> None:
    """Store each hidden unit's mean activation over tokens and photos in the model, in place.

    What a unit of constant activation adds is a constant, so it can leave for a bias without a trace.

    Args:
        model: With `shifts`.
        images: Batches (B, 3, H, W), normalised, on the model's device.

    Source: arXiv:2507.12988, variance-based pruning, mean-shift compensation.
    """
    sums = [torch.zeros_like(path.means, dtype=torch.double) for path in model.paths]
    counts = [0] * len(model.paths)

    def step(index: int, block: PreNorm, x: Tensor) -> Tensor:
        def feed(normed: Tensor) -> Tensor:
            hidden = block.mlp.act(block.mlp.fc1(normed)).flatten(0, -2)  # (B T, F)
            sums[index] = sums[index] + hidden.double().sum(dim=0)
            counts[index] += len(hidden)
            return block.mlp.fc2(hidden).view_as(normed)

        return prenorm(block, x, partial(model.views[index].attend, block), feed)

    for batch in images:
        walk(model.backbone, batch, step)
    for path, total, count in zip(model.paths, sums, counts, strict=True):
        path.means.copy_(total / count)


def unit_scores(model: SinglePathViT, images: Sequence[Tensor], seed: int = 0) -> tuple[np.ndarray, ...]:
    """KL to the dense answer, to second order, when one unit's activation becomes its mean; L of them, (F,).

    With z the logits and H = diag(p) - p p^T the Hessian of KL(p || softmax z), the term of unit f of one photo is
    d^T H d / 2 for d = dz/dg_f, the change along (activation - mean). For v = sqrt(p) e - p (sqrt(p) . e) with e
    standard normal E[v v^T] = H, so one backward pass of v . z gives an unbiased (v . d)^2 for all units of all
    blocks at once.

    Args:
        model: With `shifts` and its means set; in evaluation mode.
        images: Batches (B, 3, H, W).
        seed: Of e.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = blocks_of(model.backbone)
    totals = [torch.zeros(block.mlp.fc1.out_features, dtype=torch.double) for block in blocks]
    seen = 0
    for batch in images:
        kept: list[Tensor] = []

        def step(index: int, block: PreNorm, x: Tensor, kept: list[Tensor] = kept) -> Tensor:
            def feed(normed: Tensor) -> Tensor:
                hidden = block.mlp.act(block.mlp.fc1(normed))
                kept.append(hidden if hidden.requires_grad else hidden.requires_grad_())
                return block.mlp.fc2(kept[-1])

            return prenorm(block, x, partial(model.views[index].attend, block), feed)

        with torch.enable_grad():
            logits = walk(model.backbone, batch.detach().requires_grad_(), step)
            p = logits.detach().float().softmax(dim=1)
            for draw in range(DRAWS):
                e = torch.randn(p.shape, generator=generator).to(p.device)
                v = p.sqrt() * e - p * (p.sqrt() * e).sum(dim=1, keepdim=True)
                last = draw == DRAWS - 1
                slopes = torch.autograd.grad((v * logits).sum(), kept, retain_graph=not last)
                for total, hidden, slope, path in zip(totals, kept, slopes, model.paths, strict=True):
                    change = ((hidden - path.means) * slope).detach().flatten(1, -2).sum(dim=1)  # (B, F)
                    total += change.double().square().sum(dim=0).cpu() / (2 * DRAWS)
        seen += len(batch)
    return tuple((total / seen).numpy() for total in totals)


@torch.no_grad()
def mixer_scores(
    model: SinglePathViT, images: Sequence[Tensor], on_block: Callable[[int], None] | None = None
) -> np.ndarray:
    """KL to the dense answer when one block's mixer is replaced, by doing it; (L, 4) as `GateScores.mixers`.

    Args:
        model: Search form in evaluation mode, its batch norms fitted.
        images: Batches (B, 3, H, W).
        on_block: Called with the number of blocks done.

    Raises:
        InputError: If the photos all look alike to the model, so that nothing can be told apart.
    """
    depth = len(model.paths)
    device = next(model.parameters()).device
    everything = torch.ones(3, device=device)
    units = [torch.ones_like(path.ffn_logits) for path in model.paths]
    leaving: list[list[Tensor]] = []  # per batch, what each block of the dense model gives
    answers = []
    for batch in images:
        outputs: list[Tensor] = []

        def keep(index: int, block: PreNorm, x: Tensor, outputs: list[Tensor] = outputs) -> Tensor:
            outputs.append(model.gated_block(index, block, x, everything, units[index]))
            return outputs[-1]

        answers.append(walk(model.backbone, batch, keep).float().log_softmax(dim=1))
        leaving.append(outputs)
    shares = torch.cat(answers).exp()
    if float((shares - shares[:1]).abs().max()) < SAME_ANSWER:
        raise InputError("All photos look alike to this model, so nothing can be scored; give different photos.")
    found = np.zeros((depth, len(BY_OPEN_GATES)))
    for at in range(depth):
        for opened in range(len(BY_OPEN_GATES) - 1):
            gates = (torch.arange(3, device=device) < opened).float()
            for batch, outputs, answer in zip(images, leaving, answers, strict=True):
                changed = _changed(model, batch, outputs, at, gates).float().log_softmax(dim=1)
                nats = functional.kl_div(changed, answer, reduction="sum", log_target=True)
                found[at, opened] += float(nats) / len(shares)
        if on_block is not None:
            on_block(at + 1)
    return found


def _changed(model: SinglePathViT, images: Tensor, outputs: list[Tensor], at: int, gates: Tensor) -> Tensor:
    """Logits with the mixer gates of block `at` replaced; `outputs`: of each block of the dense model."""

    def step(index: int, block: PreNorm, x: Tensor) -> Tensor:
        if index < at:
            return outputs[index]
        path = model.paths[index]
        mixer = gates if index == at else torch.ones_like(gates)
        return model.gated_block(index, block, x, mixer, torch.ones_like(path.ffn_logits))

    return walk(model.backbone, images, step)


def gates_from(scores: GateScores) -> Gates:
    """Gate logits that rank by score per multiply-add, all above 0: with no budget given everything stays.

    The logit is the logarithm of nats per MAC, shifted. A block's mixers form a ladder, nothing, 1x1, 3x3, MSA; where a
    rung is worth more per MAC than the one below it, the two go together at their common rate (the lower convex hull,
    by pooling adjacent violators), so that a candidate that is never the best choice is passed over.
    """
    geometry, prices = scores.geometry, block_prices(scores.geometry)
    mixers = np.empty((geometry.depth, 3))
    for index, price in enumerate(prices):
        cost = np.diff([price.mixers[mixer] for mixer in BY_OPEN_GATES]).astype(float)
        worth = -np.diff(scores.mixers[index])  # what each rung saves in nats
        mixers[index] = _pooled(worth, cost)
    units = [u / price.unit for u, price in zip(scores.units, prices, strict=True)]
    rates = np.concatenate((mixers.ravel(), *units))
    least = rates[rates > 0].min() if (rates > 0).any() else 1.0

    def logits(rate: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(rate, least / 10) / least * 10) + 0.1  # at least 0.1

    return Gates(geometry, logits(mixers), tuple(logits(unit) for unit in units))


def _pooled(worth: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Worth per cost of each rung, never rising from one to the next: rungs that would rise share a rate."""
    pools: list[list[float]] = []
    for w, c in zip(worth, cost, strict=True):
        pools.append([w, c, 1])
        while len(pools) > 1 and pools[-1][0] / pools[-1][1] > pools[-2][0] / pools[-2][1]:
            w2, c2, n2 = pools.pop()
            pools[-1] = [pools[-1][0] + w2, pools[-1][1] + c2, pools[-1][2] + n2]
    return np.concatenate([np.full(int(n), w / c) for w, c, n in pools])


def score(
    model: SinglePathViT,
    geometry: Geometry,
    images: Sequence[Tensor],
    *,
    seed: int = 0,
    fits: bool = True,
    on_share: Callable[[float, str], None] | None = None,
) -> GateScores:
    """Fit the convolutions, measure the means, score every gate, and set the model's gates from that, in place.

    Args:
        model: Fresh search form of a dense model, with `shifts`.
        geometry: Of the dense model.
        images: Batches (B, 3, H, W), `LEAST_PHOTOS` photos or more, normalised, on the model's device.
        seed: For the random directions.
        fits: False: the convolutions are tried as the search form begins with them; to see what fitting is worth.
        on_share: Called with the share done, 0 to 1, and what is being done.

    Raises:
        InputError: If there are too few photos, or all look alike to the model.
    """
    photos = sum(map(len, images))
    if photos < LEAST_PHOTOS:
        raise InputError(f"{photos} photos are too few to score gates on; give at least {LEAST_PHOTOS} different ones.")
    tell = on_share or (lambda share, what: None)
    depth = len(model.paths)
    model.eval()
    if fits:
        tell(0.0, "fitting convolutions")
        fit_convolutions(model, images, on_block=lambda done: tell(0.35 * done / depth, "fitting convolutions"))
    tell(0.35, "scoring hidden units")
    set_means(model, images)
    units = unit_scores(model, images, seed)
    tell(0.5, "trying mixers")
    mixers = mixer_scores(model, images, lambda done: tell(0.5 + 0.5 * done / depth, "trying mixers"))
    found = GateScores(geometry, photos, mixers, units)
    set_gates(model, gates_from(found))
    return found


@torch.no_grad()
def set_gates(model: SinglePathViT, gates: Gates) -> None:
    """Give the model these gate logits, in place."""
    for path, mixers, units in zip(model.paths, gates.mixer_logits, gates.ffn_logits, strict=True):
        path.mixer_logits.copy_(torch.from_numpy(mixers))
        path.ffn_logits.copy_(torch.from_numpy(units))
