"""What is benchmarked: pruned models beside their dense ones, with the settings that they are measured at.

Recorded are some schedules, a large published architecture, and every bundled model that is pruned; any other schedule
or published architecture can be measured too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.config import ModelSpec
from core.costs.geometry import Geometry
from core.errors import InputError
from core.latency.random_models import (
    compare_fixed,
    compare_models,
    compare_tokens,
    dense_form,
    random_pair,
    varied_top_share,
)
from core.models.load import Loaded, load
from core.models.macs import macs_of
from core.models.registry import ModelEntry, list_models
from core.results.timings import EAGER, SpeedRow
from core.single_path.compact import carve
from core.single_path.published import architecture_of, published
from core.soft_tokens.fixed import graph_of
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import FITTED, geometry_of

BUDGET = 0.6
"""Share of dense at which bundled models with gates are measured."""
RANKED = "_ranked"
"""How the name of a schedule ends whose patches are ranked by class attention, in the place of selectors."""
USUAL = (
    "deit_small_2.6g",
    "deit_small_2.6g_early",
    f"deit_small_2.6g_early{RANKED}",
    "deit_tiny_0.9g",
    "deit_tiny_0.9g_early",
)
"""Schedules that `bench` measures where no model is named: two selectors, and one, and none."""
SCHEDULES = (*FITTED, *(f"{name}{RANKED}" for name in FITTED))
RECORDED = (*USUAL, "deit_bs_l008_t60")
"""Schedules, and the published DeiT-B of 8.4 G, of the record: all others would take hours."""


@dataclass(frozen=True)
class Case:
    """One pruned model at one setting."""

    model: str
    """One of `SCHEDULES`, a published architecture (both with random weights), or what `load` takes."""
    keep: tuple[float, ...] | None = None
    """Per selector."""
    budget: float | None = None
    """MACs."""
    blocks: tuple[int, ...] | None = None
    """Of a model without selectors: as in `core.config.ModelSpec`."""
    mass: float | None = None
    """Likewise."""
    label: str | None = None
    """In reports; None: the model."""

    def __str__(self) -> str:
        """What reports call it."""
        return self.label or self.model


def cases() -> tuple[Case, ...]:
    """All that `bench --record` measures where no model is named."""
    bundled = [_bundled_case(entry.name) for entry in list_models() if _is_pruned(entry)]
    return (*map(Case, RECORDED), *bundled)


def _is_pruned(entry: ModelEntry) -> bool:
    return entry.source == "bundled" and entry.available and entry.kind.pruned


def _bundled_case(name: str) -> Case:
    """A model with selectors at the ratios that it was trained for, one with gates at `BUDGET`, others as they are."""
    loaded = load(ModelSpec(name), weights=False)
    if loaded.card.selectors is not None:
        keep = loaded.card.selectors.targets
        return Case(name, keep=keep, label=f"{name} --keep {','.join(f'{share:g}' for share in keep)}")
    if loaded.kind.gated:
        return Case(name, budget=BUDGET * loaded.dense_macs, label=f"{name} --budget {BUDGET:.0%}")
    return Case(name)


def measure(case: Case, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    """Pruned beside dense in the same engine, on noise.

    In eager torch each image of a batch keeps another number of patches; a fixed graph keeps the same of each.

    Args:
        case: Which model.
        batch: Images per pass.
        engine: One of `core.latency.engines.ENGINES`.
        device: Where.
        repeats: Timed passes of each.

    Raises:
        InputError: If there is no such model, a setting does not fit it, it is dense, or the engine cannot take it.
    """
    if case.model in SCHEDULES or case.model in published():
        measure_known = _schedule if case.model in SCHEDULES else _published
        row = measure_known(case.model, batch, engine, device, repeats)
    else:
        row = _loaded(case, batch, engine, device, repeats)
    return replace(row, model=str(case))


def _schedule(name: str, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    """A model of random weights that keeps what the fitted schedule says."""
    known = FITTED[name.removesuffix(RANKED)]
    geometry = geometry_of(known)
    model = random_pair(geometry, known.blocks, device, ranked=name.endswith(RANKED))
    images = _noise(geometry, batch, device)
    if engine == EAGER:
        decide = varied_top_share(known.keep, model.patches, batch)
        return compare_tokens(model, geometry, images, decide, name, repeats)
    graph_of(model, known.keep, name)
    return compare_fixed(model, geometry, known.keep, images, name, repeats, engine)


def _published(name: str, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    """A published architecture, compact, with random weights."""
    found = published()[name]
    dense, pruned = (dense_form(found.geometry, device) for _ in range(2))
    carve(pruned, found.mixers, found.ffn_hidden).eval().requires_grad_(False)
    made = architecture_of(found)
    images = _noise(found.geometry, batch, device)
    return compare_models(dense, pruned, images, made.macs / made.dense_macs, name, repeats, engine)


def _loaded(case: Case, batch: int, engine: str, device: torch.device, repeats: int) -> SpeedRow:
    """A model that can be loaded; in eager torch by its own decisions unless the case says otherwise."""
    loaded: Loaded = load(
        ModelSpec(case.model, case.budget, case.keep, blocks=case.blocks, mass=case.mass), weights=False
    )
    geometry, model, name = loaded.card.geometry, loaded.model.to(device), case.model
    images = _noise(geometry, batch, device)
    if isinstance(model, SoftTokenViT):
        whole = dense_form(geometry, device) if loaded.kind.carved else None
        if engine == EAGER:
            return compare_tokens(model, geometry, images, None, name, repeats, whole)
        graph_of(model, case.keep, name)
        assert case.keep is not None  # else there is no graph
        return compare_fixed(model, geometry, case.keep, images, name, repeats, engine, whole)
    if loaded.architecture is None:
        raise InputError(f"{name} is dense; name a pruned model, which is measured beside its dense form.")
    dense = dense_form(geometry, device)
    return compare_models(dense, model, images, macs_of(loaded).total / loaded.dense_macs, name, repeats, engine)


def _noise(geometry: Geometry, batch: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)


def matching(names: Sequence[str] | None) -> tuple[Case, ...]:
    """The cases of these models, or all that are recorded.

    Raises:
        InputError: If a name is neither one of them nor a schedule or published architecture.
    """
    recorded = cases()
    known = {case.model: case for case in (*map(Case, (*SCHEDULES, *published())), *recorded)}
    for name in names or ():
        if name not in known:
            raise InputError(f"{name} is not in the benchmark; it has {', '.join(known)}.")
    return tuple(known[name] for name in names) if names else recorded
