"""Inference on a Swin: windows lose cells within a stage; all are put back, as they left, where patches are merged."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone
from core.families.block import PreNorm, prenorm
from core.families.families import window_family
from core.families.windows import Plan, parted_attention, parted_look, plan_windows
from core.soft_tokens.accumulate import nothing_carried
from core.soft_tokens.decide import Decide
from core.soft_tokens.packed import NO_PATCH, Packed
from core.soft_tokens.pit_gathered import OnGrid, prune, put_back, set_out
from core.soft_tokens.ranking import Choosing
from core.soft_tokens.stages import Stage, lay_out


def swin_gathered_forward(
    backbone: Backbone,
    selectors: dict[int, Choosing],
    images: Tensor,
    decide: Decide,
    packaging: Packaging = "weighted_mean",
    *,
    record: bool = True,
) -> tuple[Tensor, list[Stage]]:
    """See `core.soft_tokens.gathered.gathered_forward`; each record lies on the grid of its selector's stage.

    The answer is read off the last grid, pruned patches in it as they left.
    """
    family = window_family(backbone)
    maps = family.embed(backbone, images)
    carried = nothing_carried(len(images), maps.shape[-1], maps)
    done: list[Stage] = []
    begin, decided, first = 0, 0, min(selectors)
    for stage in family.stages_of(backbone):
        maps = stage.downsample(maps)
        if begin and bool(carried.exists.any()):
            carried = replace(carried, token=family.merge_package(stage, carried.token))
        elif begin:
            carried = nothing_carried(len(images), maps.shape[-1], maps)
        here, plans = None, {}
        for index, block in enumerate(stage.blocks, begin):
            if index < first:
                maps = block(maps)
                continue
            if here is None:
                here = set_out(family.as_patches(maps), maps.new_zeros(len(maps), 0, maps.shape[-1]), carried)
            if index in selectors:
                cells = maps.shape[1] * maps.shape[2]
                look = partial(_look, block=block, package=here.carried.exists)
                here, pruned = prune(here, cells, 0, selectors[index], decide, decided, packaging, look)
                plans, decided = {}, decided + 1
                if record:
                    done.append(lay_out(pruned, cells))
            if block.shift_size not in plans:
                plans[block.shift_size] = _plan(block, here.tokens, here.carried.exists)
            x = parted_block(block, here.tokens.x, plans[block.shift_size])
            here = replace(here, tokens=replace(here.tokens, x=x))
        begin += len(stage.blocks)
        if here is not None:
            maps, carried = _back(here, maps)
    return family.classify(backbone, maps), done


def parted_block(block: PreNorm, x: Tensor, plan: Plan) -> Tensor:
    """timm's pre-norm block at inference on a packed sequence, (M, D) in and out."""
    return prenorm(block, x, partial(parted_attention, block.attn, plan=plan), in_place=True)


def random_look(block: Any, alive: Tensor, package: Tensor) -> Callable[[], Tensor]:
    """What a ranking before a block computes, on tokens of no meaning, for timing.

    Args:
        block: Of timm's.
        alive: bool (B, N), the patches that it looks at.
        package: bool (B,), whether there is a package.
    """
    there = torch.cat((alive, package[:, None]), dim=1)
    cell = torch.full(there.shape, NO_PATCH, device=there.device)
    cell[:, :-1] = torch.arange(alive.numel(), device=there.device).view_as(alive)
    x = torch.randn(int(there.sum()), block.attn.dim, device=there.device)
    return partial(_look, Packed(x, cell[there], tuple(there.sum(dim=1).tolist())), block, package)


def _plan(block: Any, tokens: Packed, package: Tensor) -> Plan:
    return plan_windows(block, tokens.cell, tokens.counts, package)


def _look(tokens: Packed, block: Any, package: Tensor) -> Tensor:
    """How much the answer looks at each token, (M,); see `core.families.base.TokenFamily.attended`."""
    return parted_look(block.attn, block.norm1(tokens.x), _plan(block, tokens, package), tokens.counts)


def _back(here: OnGrid, maps: Tensor) -> tuple[Tensor, Any]:
    """The map of a stage's end, (B, h, w, D), and the packages."""
    patches, carried = put_back(here, len(maps))
    return patches.reshape(maps.shape), carried
