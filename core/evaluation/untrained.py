"""Ways to prune a dense model without training, each over a range of its multiply-adds, and what it still gets right.

Our two methods untrained, each without one of its parts, and what they are to be held against. All are given the same
dense weights and see the same photos, so differences are paired.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.baselines.dense import check_dense
from core.baselines.plans import default_blocks, fit_plan
from core.baselines.run import peer_runner
from core.config import ModelSpec, Peer
from core.costs.geometry import Geometry
from core.errors import InputError
from core.evaluation.evaluate import Evaluation, paired_difference
from core.evaluation.method_setups import keep_words, ranked_model
from core.families.families import blocks_of
from core.methods import SINGLE_PATH, SOFT_TOKENS, check_takes
from core.models.load import Loaded, finish
from core.models.registry import ASSETS
from core.models.runners import Runner, dense_runner
from core.single_path.score import set_gates
from core.single_path.searched import Gates
from core.soft_tokens.decide import top_share
from core.soft_tokens.method import token_runner
from core.soft_tokens.schedules import keep_powers, schedule_macs
from core.training.scored import Scored, make_scored

BUDGETS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Of the dense multiply-adds."""
KEEPS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Of the patches that reach a ranking."""
SCORED, RANKED = "single path, scored", "tokens, ranked by attention"
"""Our two methods, as rows name them."""
RECORD = ASSETS / "untrained.json"
"""Of the bundled dense model."""
OPEN = 10.0
"""A gate logit above those of all hidden units: that mixer stays."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A dense model pruned to one share of its multiply-adds, ready to be evaluated."""

    setting: str
    run: Runner
    share: float
    """Of the dense multiply-adds, in [0, 1], as the method itself counts them."""


@dataclass(frozen=True)
class Point:
    """What one cut gets right; a row of the record."""

    way: str
    setting: str
    macs_share: float
    top1: float
    difference: float
    """Top-1 minus the dense model's, as a share."""
    margin: float | None
    """Half of the 95 % interval of `difference`, paired photo by photo; None for a single photo."""
    images: int


@dataclass(frozen=True)
class Record:
    """What one file holds: rows that can stand side by side."""

    model: str
    weights: str
    """Fingerprint of the dense model's."""
    listing: str
    """Fingerprint of the list of photos."""
    scored_on: str | None
    """Fingerprint of the list of photos that gates were scored on; None: cuts of the sample pictures."""
    seed: int
    images: int
    dense_top1: float
    dense_macs: int
    """Of one photo."""
    rows: tuple[Point, ...]

    def same_run(self, other: "Record") -> bool:
        """Whether rows of one can be added to the other's."""
        return all(getattr(self, key) == getattr(other, key) for key in ("weights", "listing", "scored_on", "seed"))


Way = Callable[[float], Cut]
"""From one of `BUDGETS`, or of `KEEPS`, to the model cut so far; raises InputError where it cannot be."""


def ways_of(
    dense: Loaded,
    pictures: Sequence[Image.Image] | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    on_share: Callable[[float, str], None] | None = None,
) -> dict[str, tuple[tuple[float, ...], Way]]:
    """All ways that the model's family allows, by name, each with what it is tried at.

    Args:
        dense: A dense model; only read.
        pictures: To score gates on; None: cuts of the sample pictures.
        device: Of the model.
        seed: Of what is random.
        on_share: As in `core.training.scored.make_scored`.

    Raises:
        InputError: If the model is pruned, or no way is open to its family.
    """
    if dense.kind.pruned:
        raise InputError(f"{dense.spec.name} is pruned already; give the dense model that it came from.")
    found = _single_path_ways(dense, pictures, device, seed, on_share) | _token_ways(dense, seed)
    if not found:
        raise InputError(f"{dense.spec.name} can be pruned in no way without training.")
    return found


def read_record(path: Path) -> Record | None:
    """What an earlier run wrote; None where there is no such file.

    Raises:
        InputError: If it is something else.
    """
    if not path.is_file():
        return None
    try:
        held = json.loads(path.read_text())
        return Record(**(held | {"rows": tuple(Point(**row) for row in held["rows"])}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no record of `untrained`; give --out another file.") from error


@lru_cache(maxsize=1)
def bundled_record() -> Record | None:
    """What was recorded of the bundled dense model; None where nothing was."""
    return read_record(RECORD)


def point_of(way: str, cut: Cut, found: Evaluation, dense: Evaluation) -> Point:
    """The row of one evaluation, beside the dense model's on the same photos."""
    difference, margin = paired_difference(found, dense)
    return Point(way, cut.setting, cut.share, found.top1, difference, margin, found.images)


def _single_path_ways(
    dense: Loaded,
    pictures: Sequence[Image.Image] | None,
    device: torch.device | str,
    seed: int,
    on_share: Callable[[float, str], None] | None,
) -> dict[str, tuple[tuple[float, ...], Way]]:
    """Gates scored; without the mean shift, without fitted convolutions; and FFNs cut alike in all blocks."""
    try:
        check_takes(SINGLE_PATH, dense.card.family)
    except InputError:
        return {}

    def scored(*, fits: bool) -> Scored:
        copied = replace(dense, model=deepcopy(dense.model))
        return make_scored(copied, pictures, device=device, seed=seed, fits=fits, on_share=on_share)

    whole = scored(fits=True)
    unshifted = _without_means(whole)
    geometry = dense.card.geometry
    generator = np.random.default_rng(seed)
    gated = {
        SCORED: whole,
        "single path, scored, no mean shift": unshifted,
        "single path, scored, convolutions not fitted": scored(fits=False),
    }
    worths = {
        "FFNs alike, smallest units first": unit_magnitudes(dense),
        "FFNs alike, units at random": [generator.random(width) for width in geometry.ffn_widths],
    }
    only_ffns = {name: _gated(unshifted, alike(geometry, worth)) for name, worth in worths.items()}
    return {
        name: (BUDGETS, partial(_at_budget, dense, made, only_ffns=name in only_ffns))
        for name, made in (gated | only_ffns).items()
    }


def _token_ways(dense: Loaded, seed: int) -> dict[str, tuple[tuple[float, ...], Way]]:
    """Patches ranked by attention; and, at the same multiply-adds, what others do with tokens."""
    try:
        check_takes(SOFT_TOKENS, dense.card.family)
    except InputError:
        return {}
    ways: dict[str, tuple[tuple[float, ...], Way]] = {
        RANKED: (KEEPS, partial(_ranked, dense)),
    }
    try:
        check_dense(dense.spec.name, dense)
    except InputError:
        return ways
    peers: dict[str, Peer] = {"ToMe": "tome", "EViT": "evit", "patches at random": "random-dense"}
    for name, peer in peers.items():
        ways[name] = (KEEPS, partial(_peer, dense, peer, seed))
    return ways


def unit_magnitudes(dense: Loaded) -> list[np.ndarray]:
    """How large each hidden unit is: the product of its weights' Euclidean norms in both layers; L of them, (F,).

    The two norms multiply, because a unit that is scaled up in one layer and down in the other is the same unit.
    """
    layers = [(block.mlp.fc1, block.mlp.fc2) for block in blocks_of(dense.model)]
    return [(into.weight.norm(dim=1) * out.weight.norm(dim=0)).detach().cpu().numpy() for into, out in layers]


def alike(geometry: Geometry, worth: Sequence[np.ndarray]) -> Gates:
    """Gates that close hidden units alone, the same share in every block, those of the least worth first.

    Args:
        geometry: Of the dense model.
        worth: Of each hidden unit; L of them, (F,).
    """
    ranks = [np.argsort(np.argsort(each, kind="stable")) for each in worth]  # 0: the first to go
    units = tuple((rank + 0.5) / len(rank) for rank in ranks)
    return Gates(geometry, np.full((geometry.depth, 3), OPEN), units)


@torch.no_grad()
def _without_means(made: Scored) -> Scored:
    """The same, but what leaves a block leaves nothing behind."""
    model = deepcopy(made.model)
    for path in model.paths:
        path.means.zero_()
    return replace(made, model=model)


def _gated(made: Scored, gates: Gates) -> Scored:
    """The same with other gates."""
    model = deepcopy(made.model)
    set_gates(model, gates)
    return replace(made, model=model)


def _at_budget(dense: Loaded, made: Scored, share: float, *, only_ffns: bool) -> Cut:
    """The architecture that gates derive at a share of the dense multiply-adds."""
    spec = ModelSpec(dense.spec.name, budget=share * dense.dense_macs)
    found = finish(spec, made.card, made.model)
    architecture = found.architecture
    assert architecture is not None  # as there are gates
    if only_ffns and set(architecture.mixers) != {"msa"}:
        raise InputError(f"Cutting FFNs alone does not reach {100 * share:g} % of dense.")
    run = dense_runner(found.model, architecture.macs)
    return Cut(f"--budget {100 * share:g}%", run, architecture.macs / dense.dense_macs)


def _ranked(dense: Loaded, keep: float) -> Cut:
    """Every ranking leaves `keep` of the patches that reach it."""
    ranked, geometry = ranked_model(dense.model), dense.card.geometry
    shares = keep_powers(keep, ranked.patches)
    macs = schedule_macs(geometry, ranked.blocks, shares, ranked.layers).total
    run = token_runner(ranked, geometry, top_share(shares, ranked.patches))
    return Cut(keep_words(shares, ranked.blocks), run, macs / dense.dense_macs)


def _peer(dense: Loaded, peer: Peer, seed: int, keep: float) -> Cut:
    """Another method at the multiply-adds that a ranking at `keep` has, or just below."""
    geometry = dense.card.geometry
    blocks = () if peer == "tome" else default_blocks(geometry.depth)
    plan = fit_plan(peer, geometry, blocks, _ranked(dense, keep).share * dense.dense_macs, never_above=True)
    amounts = ",".join(map(str, plan.amounts))
    where = ",".join(map(str, plan.blocks))
    words = f"merges {amounts}" if peer == "tome" else f"keeps {amounts} before blocks {where}"
    return Cut(words, peer_runner(dense.model, plan, seed), plan.macs.total / dense.dense_macs)
