"""Inference: pruned tokens really leave, with a different count per image in one batch and no padding in between."""

from dataclasses import replace

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from core.backbones import deit
from core.config import Packaging
from core.soft_tokens.decide import Decide
from core.soft_tokens.package import package_weights
from core.soft_tokens.packed import (
    Packed,
    pack,
    packed_block,
    patch_rows,
    plan_attention,
    replace_tokens,
    weighted_sums,
)
from core.soft_tokens.selector import Scores, Selector
from core.soft_tokens.stages import Stage


def gathered_forward(
    backbone: VisionTransformer,
    selectors: dict[int, Selector],
    images: Tensor,
    decide: Decide,
    packaging: Packaging = "weighted_mean",
) -> tuple[Tensor, list[Stage]]:
    """Run a batch with tokens removed where a selector says so; each image gets what it would get alone.

    Args:
        backbone: The ViT, in evaluation mode.
        selectors: By the block before which each stands, in rising order.
        images: (B, 3, H, W), normalised.
        decide: Turns scores into decisions.
        packaging: See `core.soft_tokens.package`.

    Returns:
        Logits (B, C) and a record per selector.
    """
    x = deit.embed(backbone, images)
    first = min(selectors)
    for block in backbone.blocks[:first]:
        x = block(x)
    patches = x.shape[1] - backbone.num_prefix_tokens
    packed = pack(x, backbone.num_prefix_tokens)
    stages: list[Stage] = []
    for index, block in enumerate(backbone.blocks[first:], first):
        if index in selectors:
            packed, stage = prune(
                packed, patches, backbone.num_prefix_tokens, selectors[index], decide, len(stages), packaging, block
            )
            plan = plan_attention(packed.counts, images.device)
            stages.append(stage)
        packed = replace(packed, x=packed_block(block, packed.x, plan))
    begins = torch.tensor((0, *packed.counts[:-1])).cumsum(0)
    first_rows = (begins[:, None] + torch.arange(backbone.num_prefix_tokens)).to(images.device)  # (B, P)
    prefix = packed.x[first_rows]
    return deit.classify(backbone, prefix), stages


def prune(
    packed: Packed,
    patches: int,
    prefix: int,
    selector: Selector,
    decide: Decide,
    index: int,
    packaging: Packaging,
    block: Block,
) -> tuple[Packed, Stage]:
    """One selector's work before `block`: score, decide, fold what leaves into packages."""
    batch, heads = len(packed.counts), selector.heads
    scores = selector(packed.x, packed.counts, prefix)
    rows = patch_rows(packed)
    cell = packed.cell[rows]
    values = torch.cat((scores.logits, scores.keep_prob[:, None], scores.per_head, scores.importance), dim=1)
    grid = values.new_full((batch * patches, values.shape[1]), torch.nan).index_copy(0, cell, values[rows])
    logits, keep_prob, per_head, importance = grid.unflatten(0, (batch, -1)).split((2, 1, heads, heads), dim=2)
    keep_prob, alive = keep_prob[..., 0], ~keep_prob[..., 0].isnan()
    attention = None
    if getattr(decide, "looks", False):
        parts = block.norm1(packed.x).split(packed.counts)
        looked = torch.cat([deit.class_attention(block.attn, part[None], prefix=0)[0] for part in parts])
        attention = looked.new_zeros(batch * patches).index_copy(0, cell, looked[rows]).unflatten(0, (batch, -1))
    kept = decide(index, Scores(logits, keep_prob, per_head, importance, attention), alive)
    weight, exists = package_weights(keep_prob.nan_to_num(0.0), (alive & ~kept).float(), packaging)
    stay = torch.ones_like(packed.cell, dtype=torch.bool)
    stay[rows] = kept.flatten()[cell]
    share = packed.x.new_zeros(len(packed.x))
    share[rows] = weight.flatten()[cell].to(share.dtype)
    packages = weighted_sums(packed.x, share, packed.counts)
    seen = torch.tensor(packed.counts) - prefix
    stage = Stage(kept, keep_prob, weight, exists, seen, alive.sum(dim=1), per_head=per_head, importance=importance)
    return replace_tokens(packed, stay, packages, exists), stage
