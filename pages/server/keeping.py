"""Keep ratios of a model: which setting they are, what they cost, and how it then decides."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.config import ModelSpec
from core.models import load as checkpoints
from core.soft_tokens.decide import decision
from core.soft_tokens.method import USUAL_RANKINGS
from core.soft_tokens.places import patches_of, possible_places, usual_places
from core.soft_tokens.schedules import keep_powers, schedule_macs
from pages.server import models


def deciding(spec: ModelSpec) -> tuple[checkpoints.Loaded, Any]:
    """The model with selectors behind a spec, one in memory however it is to decide, and how it decides."""
    model = models.loaded(bare(spec))
    return model, decision(spec, len(model.card.selectors.blocks), model.model.patches)


@st.cache_data(max_entries=16, show_spinner=False)
def ranking_places(name: str) -> tuple[int, ...]:
    """Blocks, from 0, before which patches of a model without selectors can be ranked."""
    return possible_places(models.loaded(ModelSpec(name)).model)


def bare(spec: ModelSpec) -> ModelSpec:
    """The model whose selectors, or rankings, decide as `spec` says, whatever that is."""
    if spec.blocks is None:
        return ModelSpec(spec.name, spec.budget, packaging=spec.packaging)
    return ModelSpec(spec.name, blocks=spec.blocks, keep=(1.0,) * len(spec.blocks))


def keep_spec(name: str, ratio: float, blocks: tuple[int, ...] | None = None) -> ModelSpec:
    """Every selector keeps `ratio` of the patches that reach it: 0.7 leaves 0.7, 0.49, 0.34 of all patches.

    In a model without selectors patches are ranked by class attention before `blocks`, usually three.
    """
    return keep_specs(name, (ratio,), blocks)[0]


def keep_specs(name: str, ratios: Sequence[float], blocks: tuple[int, ...] | None = None) -> list[ModelSpec]:
    """The same for several ratios."""
    found = models.loaded(ModelSpec(name))
    if not found.kind.pruned:
        blocks = blocks or usual_places(found.model, USUAL_RANKINGS)
        patches = patches_of(found.model, blocks)
    else:
        blocks, patches = None, found.model.patches
    powers = [keep_powers(ratio, patches) for ratio in ratios]  # anew on each grid, where a family pools
    return [ModelSpec(name, keep=tuple(round(power, 4) for power in some), blocks=blocks) for some in powers]


@st.cache_data(max_entries=8, show_spinner=False)
def keep_macs(name: str, ratios: tuple[float, ...]) -> list[int]:
    """Multiply-adds of any photo at each of these keep ratios of every selector."""
    found = models.loaded(ModelSpec(name))
    return [
        schedule_macs(found.card.geometry, found.model.blocks, spec.keep, found.model.layers).total
        for spec in keep_specs(name, ratios)
    ]
