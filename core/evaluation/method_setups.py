"""A dense model set to a share of its multiply-adds by each of four methods, with nothing trained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from core import methods
from core.baselines.dense import check_dense
from core.baselines.plans import fit_plan
from core.baselines.run import peer_runner, run_plan
from core.config import ModelSpec
from core.costs.geometry import Geometry
from core.costs.grids import pools
from core.errors import InputError
from core.latency.measure_table import measure_table
from core.latency.parts import block_ms, measure_path, path_ms
from core.latency.schedule import schedule_ms
from core.latency.table import scaled_table
from core.models.cards import ModelCard
from core.models.load import Loaded, finish
from core.models.runners import Runner, dense_runner
from core.results import Architecture
from core.results.method_table import JOINT, SINGLE_PATH, TOKENS, TOME, Method
from core.results.timings import LatencyTable, PathCosts, StagedCosts
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import top_share
from core.soft_tokens.method import token_runner
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.places import usual_places
from core.soft_tokens.schedules import fit_keep, keep_powers, schedule_macs, schedule_tokens

RANKINGS = (3, 2, 1)
"""So many rankings in a model, or as many as there is room for."""
SHORT_REPEATS, SHORT_POINTS = 3, 9
"""How blocks are measured for a prediction: a short form, since somebody waits for it."""

Scored = tuple[SinglePathViT, ModelCard]
"""A scored model as its file has it; see `core.models.load.read_model`."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What times are predicted from; None where the family lacks a method, or nobody asks for times."""

    table: LatencyTable | None = None
    """A block by tokens, and a ranking; scaled so that the dense model takes as long as by `costs`."""
    costs: PathCosts | StagedCosts | None = None
    dense_ms: float | None = None
    """The dense model by either."""


@dataclass(frozen=True, eq=False)
class Start:
    """What each method starts from."""

    dense: Loaded
    scored: Scored | str
    """Or the sentence that says why there is none."""
    parts: Parts


@dataclass(frozen=True, eq=False)
class Setup:
    """A method set to a share."""

    setting: str
    """As options of the commands where they have some."""
    run: Runner
    alone: Callable[[Tensor], object]
    """The pass that is timed: the logits and nothing besides."""
    predicted_ms: float | None


def set_up(method: Method, start: Start, share: float) -> Setup:
    """The dense model under `method`, at or just below `share` of its MACs.

    Raises:
        InputError: If the method cannot take the family, or cannot reach the share; one sentence.
    """
    return {TOKENS: _tokens, SINGLE_PATH: _single_path, JOINT: _joint, TOME: _tome}[method](start, share)


def _tokens(start: Start, share: float) -> Setup:
    """Patches ranked by class attention; every ranking keeps one share of what reaches it, found by bisection."""
    dense = start.dense
    methods.check_takes(methods.SOFT_TOKENS, dense.card.family)
    ranked = ranked_model(dense.model)
    keep = _fitted(ranked, dense, share)
    parts, stages = start.parts, (ranked.blocks, keep)
    predicted = None if parts.table is None else schedule_ms(parts.table, dense.card.geometry, stages)
    return _ranked(ranked, dense.card.geometry, keep, keep_words(keep, ranked.blocks), predicted)


def _single_path(start: Start, share: float) -> Setup:
    """The architecture that scored gates derive at this budget."""
    found = _compact(start, share)
    made = found.architecture
    assert made is not None
    costs = start.parts.costs
    predicted = None if costs is None else path_ms(costs, made)
    run = dense_runner(found.model, made.macs)
    return Setup(f"--budget {100 * share:g}%", run, found.model, predicted)


def _joint(start: Start, share: float) -> Setup:
    """Half of the saving by such an architecture, the other half by patches ranked in it."""
    methods.check_takes(methods.SOFT_TOKENS, start.dense.card.family)
    half = (1 + share) / 2
    found = _compact(start, half)
    made, geometry = found.architecture, start.dense.card.geometry
    assert made is not None
    ranked = ranked_model(found.model)
    keep = _fitted(ranked, start.dense, share)
    predicted = joint_ms(start.parts, geometry, made, (ranked.blocks, keep))
    return _ranked(ranked, geometry, keep, f"--budget {100 * half:g}% {keep_words(keep, ranked.blocks)}", predicted)


def _tome(start: Start, share: float) -> Setup:
    """As many merges in each block as cost the share; its time is predicted by nothing here."""
    dense = start.dense
    check_dense(dense.spec.name, dense)
    plan = fit_plan("tome", dense.card.geometry, (), share * dense.dense_macs, never_above=True)
    alone = partial(run_plan, dense.model, plan, generator=(), record=False)
    words = f"merges {', '.join(map(str, plan.amounts))} tokens in its blocks"
    return Setup(words, peer_runner(dense.model, plan), alone, None)


def ranked_model(backbone: nn.Module) -> SoftTokenViT:
    """Rankings at their usual places in a dense or compact model, three of them or as many as have room.

    Raises:
        InputError: If none has room.
    """
    for count in RANKINGS:
        try:
            return SoftTokenViT(backbone, usual_places(backbone, count), ranked=True).eval().fold()
        except InputError:
            continue
    raise InputError("No ranking has room in it: behind its last 3x3 convolution no attention is left to rank by.")


def measure_parts(dense: Loaded, scored: Scored | str, between: Callable[[], object] | None = None) -> Parts:
    """Measure what the methods' times are predicted from; a few seconds for a small model.

    Args:
        dense: A dense model.
        scored: Or why there is none: then nothing is predicted from single-path parts.
        between: See `core.latency.measure.interleaved`.
    """
    geometry, table, costs = dense.card.geometry, None, None
    whole = Architecture(
        ("msa",) * geometry.depth, geometry.ffn_widths, geometry.ffn_widths, dense.dense_macs, dense.dense_macs
    )
    if not isinstance(scored, str):
        costs = measure_path(dense.model, geometry, between=between)
    if methods.takes(methods.SOFT_TOKENS, dense.card.family) and not pools(geometry):
        table = measure_table(
            ranked_model(dense.model), geometry, repeats=SHORT_REPEATS, points=SHORT_POINTS, between=between
        )
    dense_ms = None if costs is None else path_ms(costs, whole)
    if table is not None:
        by_table = schedule_ms(table, geometry, ((), ()))
        dense_ms = by_table if dense_ms is None else dense_ms
        table = scaled_table(table, dense_ms / by_table)
    return Parts(table, costs, dense_ms)


def joint_ms(
    parts: Parts, geometry: Geometry, made: Architecture, stages: tuple[tuple[int, ...], tuple[float, ...]]
) -> float | None:
    """Predicted milliseconds of rankings in an architecture; None where something was not measured.

    sum_l b_l a(T_l) / a(T) + rankings + rest: each block's own time b_l, times how far a dense block's time a falls
    with the tokens that are left in it.

    Args:
        parts: Measured here.
        geometry: Of the dense model.
        made: The architecture.
        stages: Blocks before which patches are ranked, and the share of all patches that each leaves.
    """
    if parts.table is None or parts.costs is None:
        return None
    tokens, seen = schedule_tokens(geometry, *stages)
    at = partial(np.interp, xp=parts.table.tokens, fp=parts.table.block_ms)
    falling = at(tokens) / at(geometry.patches + geometry.prefix_tokens)  # (L,)
    looks = [every + geometry.prefix_tokens for every, _ in seen]
    ranking = np.interp(looks, parts.table.tokens, parts.table.selector_ms).sum()
    return float(falling @ block_ms(parts.costs, made) + ranking + parts.costs.rest_ms)


def keep_words(keep: tuple[float, ...], blocks: tuple[int, ...]) -> str:
    """Keep ratios as options of the commands."""
    return f"--keep {','.join(f'{share:.3g}' for share in keep)} --blocks {','.join(map(str, blocks))}"


def _compact(start: Start, share: float) -> Loaded:
    """The scored model made compact at a share of the dense MACs."""
    methods.check_takes(methods.SINGLE_PATH, start.dense.card.family)
    if isinstance(start.scored, str):
        raise InputError(start.scored)
    module, card = start.scored
    budget = share * start.dense.dense_macs
    return finish(ModelSpec(start.dense.spec.name, budget=budget), card, module)


def _fitted(ranked: SoftTokenViT, dense: Loaded, share: float) -> tuple[float, ...]:
    """Keep ratios r, r^2, ... at or just below a share of the dense MACs.

    Raises:
        InputError: If the fewest patches cost more.
    """
    geometry, blocks = dense.card.geometry, ranked.blocks
    fewest = keep_powers(1 / geometry.patches, ranked.patches)
    least = schedule_macs(geometry, blocks, fewest, ranked.layers).total / dense.dense_macs
    if least > share:
        places = ", ".join(str(block + 1) for block in blocks)
        raise InputError(f"Ranking patches before blocks {places} leaves at least {100 * least:.0f} % of dense.")
    return fit_keep(geometry, blocks, share * dense.dense_macs, ranked.layers)


def _ranked(
    ranked: SoftTokenViT, geometry: Geometry, keep: tuple[float, ...], words: str, predicted_ms: float | None
) -> Setup:
    decide = top_share(keep, ranked.patches)
    alone = partial(ranked.run, decide=decide, record=False)
    return Setup(words, token_runner(ranked, geometry, decide), alone, predicted_ms)
