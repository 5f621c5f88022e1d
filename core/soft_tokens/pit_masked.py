"""Training on a PiT: pruned patches are no keys, and stand still, so that a pooling finds them as they left."""

import math
from functools import partial

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone
from core.families.families import pooled_family
from core.soft_tokens.accumulate import Carried, accumulated, nothing_carried
from core.soft_tokens.policy import SoftDecide, masked_block, slice_scores
from core.soft_tokens.ranking import AttentionRanking, Look, look, ranked_scores
from core.soft_tokens.selector import Selector
from core.soft_tokens.stages import Stage


def pit_masked_forward(
    backbone: Backbone,
    selectors: dict[int, Selector | AttentionRanking],
    images: Tensor,
    decide: SoftDecide,
    packaging: Packaging = "weighted_mean",
) -> tuple[Tensor, Tensor, list[Stage]]:
    """See `core.soft_tokens.masked.masked_forward`; patch tokens and records lie on the grids of their stages."""
    family = pooled_family(backbone)
    maps, prefix = family.embed(backbone, images)
    carried = nothing_carried(len(images), maps.shape[1], maps)
    first, begin = prefix.shape[1], 0
    stages: list[Stage] = []
    for stage in family.stages_of(backbone):
        if stage.pool is not None:
            maps, prefix = stage.pool(maps, prefix)
            carried = Carried(stage.pool.fc(carried.token), carried.weight, carried.exists)
        x = torch.cat((prefix, family.as_patches(maps), carried.token[:, None]), dim=1)  # (B, P + N + 1, D)
        alive = x.new_ones(len(x), x.shape[1] - first - 1, dtype=torch.float32)
        for index, block in enumerate(stage.blocks, begin):
            if index in selectors:
                x, alive, carried, record = select(
                    x,
                    first,
                    alive,
                    carried,
                    selectors[index],
                    decide,
                    stages,
                    packaging,
                    partial(family.attended, block),
                )
                stages.append(record)
            if stages:
                moving = policy_of(first, alive, torch.ones_like(carried.exists))[..., None]  # all but pruned patches
                after = masked_block(block, x, policy_of(first, alive, carried.exists), slice(first, x.shape[1] - 1))
                x = moving * after + (1 - moving) * x
            else:
                x = torch.cat((block(x[:, :-1]), x[:, -1:]), dim=1)
        begin += len(stage.blocks)
        prefix, maps = x[:, :first], family.map_of(x[:, first:-1], maps)
        carried = Carried(x[:, -1], carried.weight, carried.exists)
    return family.classify(backbone, prefix), backbone.norm(x[:, first:-1]), stages


def policy_of(first: int, alive: Tensor, package: Tensor) -> Tensor:
    """(B, P + N + 1), 1 or 0: all prefix tokens, the patches alive, the package."""
    return torch.cat((alive.new_ones(len(alive), first), alive, package[:, None].to(alive.dtype)), dim=1)


def select(
    x: Tensor,
    first: int,
    alive: Tensor,
    carried: Carried,
    selector: Selector | AttentionRanking,
    decide: SoftDecide,
    stages: list[Stage],
    packaging: Packaging,
    looking: Look,
) -> tuple[Tensor, Tensor, Carried, Stage]:
    """One selector's work: the tokens with the new package in its place, who is alive, the package, a record."""
    there = policy_of(0, alive.detach(), carried.exists)  # (B, N + 1)
    if isinstance(selector, AttentionRanking):
        looked = look(looking, x, policy_of(first, alive.detach(), carried.exists))
        found = ranked_scores(looked[:, first:])
    else:
        found = selector.masked(x[:, first:], there)
    scores = slice_scores(found, alive.shape[1])
    kept = decide(len(stages), scores, alive.detach()) * alive
    shares = accumulated(scores.keep_prob, alive * (1 - kept), carried, packaging)
    patches = torch.einsum("bn,bnd->bd", shares.patches.to(x.dtype), x[:, first:-1])
    token = patches + shares.carried[:, None].to(x.dtype) * x[:, -1]
    was = alive.detach() > 0
    record = Stage(
        kept=kept.detach() > 0,
        keep_prob=scores.keep_prob.masked_fill(~was, math.nan),
        package_weight=shares.patches.detach() * was,
        has_package=shares.exists,
        seen=(there > 0).sum(dim=1),
        patches=was.sum(dim=1),
        scores=scores,
    )
    x = torch.cat((x[:, :-1], token[:, None]), dim=1)
    return x, kept, Carried(token, shares.weight, shares.exists), record
