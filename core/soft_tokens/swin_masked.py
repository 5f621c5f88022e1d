"""Training on a Swin: pruned patches are no keys in their windows, and stand still until patches are merged."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone
from core.families.block import prenorm
from core.families.families import window_family
from core.families.windows import out_of_windows, window_keys, window_scores, window_values
from core.soft_tokens.accumulate import Carried, nothing_carried
from core.soft_tokens.pit_masked import policy_of, select
from core.soft_tokens.policy import SoftDecide, policy_weights
from core.soft_tokens.ranking import AttentionRanking
from core.soft_tokens.selector import Selector
from core.soft_tokens.stages import Stage


def swin_masked_forward(
    backbone: Backbone,
    selectors: dict[int, Selector | AttentionRanking],
    images: Tensor,
    decide: SoftDecide,
    packaging: Packaging = "weighted_mean",
) -> tuple[Tensor, Tensor, list[Stage]]:
    """See `core.soft_tokens.masked.masked_forward`; patch tokens and records lie on the grids of their stages."""
    family = window_family(backbone)
    maps = family.embed(backbone, images)
    carried = nothing_carried(len(images), maps.shape[-1], maps)
    begin = 0
    stages: list[Stage] = []
    for stage in family.stages_of(backbone):
        maps = stage.downsample(maps)
        if begin:
            carried = Carried(family.merge_package(stage, carried.token), carried.weight, carried.exists)
        x = torch.cat((family.as_patches(maps), carried.token[:, None]), dim=1)  # (B, N + 1, D)
        alive = x.new_ones(len(x), x.shape[1] - 1, dtype=torch.float32)
        for index, block in enumerate(stage.blocks, begin):
            if index in selectors:
                looking = partial(family.attended, block)
                x, alive, carried, record = select(
                    x, 0, alive, carried, selectors[index], decide, stages, packaging, looking
                )
                stages.append(record)
            if stages:
                moving = policy_of(0, alive, torch.ones_like(carried.exists))[..., None]  # all but pruned patches
                after = masked_window_block(block, x, policy_of(0, alive, carried.exists))
                x = moving * after + (1 - moving) * x
            else:
                x = torch.cat((block(x[:, :-1].reshape(maps.shape)).flatten(1, 2), x[:, -1:]), dim=1)
        begin += len(stage.blocks)
        maps = x[:, :-1].reshape(maps.shape)
        carried = Carried(x[:, -1], carried.weight, carried.exists)
    return family.classify(backbone, maps), backbone.norm(x[:, :-1]), stages


def masked_window_block(block: Any, x: Tensor, policy: Tensor) -> Tensor:
    """A block in which token j counts as a key policy_j times, 0 or 1: patches and a package, (B, N + 1, D)."""
    return prenorm(block, x, partial(_mix, block, policy=policy))


def _mix(block: Any, x: Tensor, policy: Tensor) -> Tensor:
    attn = block.attn
    q, k, v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, N + 1, d) each
    found, of_package = window_scores(block, q, k)
    weights = attn.attn_drop(policy_weights(found, window_keys(block, policy)).to(v.dtype))
    look = attn.attn_drop(policy_weights(of_package, policy[:, None, None]).to(v.dtype))
    values = window_values(block, v)
    mixed = out_of_windows(block, weights @ values, look @ v)  # (B, H, N + 1, d)
    return attn.proj_drop(attn.proj(mixed.transpose(1, 2).flatten(2)))
