"""Inference on a PiT: tokens leave within a stage, and are put back on the grid, as they left, where it is pooled."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone
from core.families.families import pooled_family
from core.soft_tokens.accumulate import Carried, accumulated, nothing_carried
from core.soft_tokens.decide import Decide
from core.soft_tokens.lean import lean_block
from core.soft_tokens.packed import (
    NO_PATCH,
    Packed,
    choose,
    first_tokens,
    look_by_image,
    packed_block,
    plan_attention,
    replace_tokens,
    weighted_sums,
)
from core.soft_tokens.ranking import Choosing
from core.soft_tokens.stages import Pruned, Stage, lay_out, on_grid


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A batch between two blocks of one stage."""

    tokens: Packed
    """Of each image prefix tokens, patches still alive, and its package where it has one."""
    frozen: Tensor
    """(B N, D): the value that each pruned patch had when it was pruned; of no meaning for the others."""
    carried: Carried
    """The packages; their tokens are those in `tokens`, not those in here."""


def pit_gathered_forward(
    backbone: Backbone,
    selectors: dict[int, Choosing],
    images: Tensor,
    decide: Decide,
    packaging: Packaging = "weighted_mean",
    *,
    record: bool = True,
) -> tuple[Tensor, list[Stage]]:
    """See `core.soft_tokens.gathered.gathered_forward`; each record lies on the grid of its selector's stage."""
    family = pooled_family(backbone)
    stages = family.stages_of(backbone)
    maps, prefix = family.embed(backbone, images)
    carried = nothing_carried(len(images), maps.shape[1], maps)
    lean = len(images) == 1 and not record
    done: list[Stage] = []
    begin, decided = 0, 0
    for stage in stages:
        if stage.pool is not None:
            maps, prefix = stage.pool(maps, prefix)
            carried = replace(carried, token=stage.pool.fc(carried.token))
        here = set_out(family.as_patches(maps), prefix, carried)
        cells = maps.shape[-2] * maps.shape[-1]
        plan = plan_attention(here.tokens.counts, maps.device)
        for index, block in enumerate(stage.blocks, begin):
            if index in selectors:
                here, pruned = prune(
                    here,
                    cells,
                    prefix.shape[1],
                    selectors[index],
                    decide,
                    decided,
                    packaging,
                    partial(look_by_image, looking=partial(family.attended, block)),
                )
                plan = plan_attention(here.tokens.counts, maps.device)
                decided += 1
                if record:
                    done.append(lay_out(pruned, cells))
            x = here.tokens.x
            x = lean_block(block, x[None])[0] if lean else packed_block(block, here.tokens, plan)
            here = replace(here, tokens=replace(here.tokens, x=x))
        begin += len(stage.blocks)
        prefix = first_tokens(here.tokens, prefix.shape[1])
        if stage is not stages[-1]:
            patches, carried = put_back(here, len(maps))
            maps = family.map_of(patches, maps)
    return family.classify(backbone, prefix), done


def set_out(patches: Tensor, prefix: Tensor, carried: Carried) -> OnGrid:
    """The tokens of one stage, every patch (B, N, D) alive."""
    batch, cells, width = patches.shape
    x = torch.cat((prefix, patches, carried.token[:, None]), dim=1)  # (B, P + N + 1, D)
    cell = torch.full(x.shape[:2], NO_PATCH, device=x.device)
    cell[:, prefix.shape[1] : -1] = torch.arange(batch * cells, device=x.device).unflatten(0, (batch, cells))
    there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    there[:, -1] = carried.exists
    tokens = Packed(x[there], cell[there], tuple(there.sum(dim=1).tolist()))
    return OnGrid(tokens, patches.reshape(batch * cells, width), carried)


def put_back(here: OnGrid, batch: int) -> tuple[Tensor, Carried]:
    """The patches of a stage's end, (B, N, D), pruned ones as they were when they left, and the packages."""
    tokens, alive = here.tokens, (here.tokens.cell >= 0).nonzero()[:, 0]
    patches = here.frozen.index_copy(0, tokens.cell[alive], tokens.x[alive])
    return patches.unflatten(0, (batch, -1)), replace(here.carried, token=last_tokens(here))


def last_tokens(here: OnGrid) -> Tensor:
    """The last token of each image, (B, D): its package where it has one."""
    return here.tokens.x[_ends(here)]


def _ends(here: OnGrid) -> Tensor:
    return torch.tensor(here.tokens.counts, device=here.tokens.x.device).cumsum(0) - 1


def prune(
    here: OnGrid,
    patches: int,
    prefix: int,
    selector: Choosing,
    decide: Decide,
    index: int,
    packaging: Packaging,
    looked: Callable[[Packed], Tensor],
) -> tuple[OnGrid, Pruned]:
    """One selector's work: score, decide, fold what leaves into the one package; it stays frozen.

    `looked` says how much the answer looks at each token, (M,).
    """
    tokens, batch = here.tokens, len(here.tokens.counts)
    rows, scores, alive, kept = choose(tokens, patches, prefix, selector, decide, index, looked)
    cell = tokens.cell[rows]
    keep_prob = on_grid(scores.keep_prob, cell, batch, patches, 0.0)
    shares = accumulated(keep_prob, (alive & ~kept).float(), here.carried, packaging)
    kept, weight = kept.flatten()[cell], shares.patches.flatten()[cell]
    old = _ends(here)[here.carried.exists]  # rows of the packages so far
    inside, parts = torch.cat((rows, old)), torch.cat((weight, shares.carried[here.carried.exists]))
    packages = weighted_sums(tokens, inside, parts.to(tokens.x.dtype))  # (B, D)
    left = (~kept).nonzero()[:, 0]
    frozen = here.frozen.index_copy(0, cell[left], tokens.x[rows[left]])
    stay = torch.cat((kept, torch.zeros_like(old, dtype=torch.bool)))
    done = Pruned(cell, scores, kept, weight, shares.exists, tuple(count - prefix for count in tokens.counts))
    after = replace_tokens(tokens, inside, stay, packages, shares.exists)
    return OnGrid(after, frozen, Carried(packages, shares.weight, shares.exists)), done
