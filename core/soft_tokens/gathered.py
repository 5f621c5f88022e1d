"""Inference: pruned tokens really leave, with a different count per image in one batch and no padding in between."""

from dataclasses import dataclass, replace

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from core.backbones import deit
from core.config import Packaging
from core.soft_tokens.decide import Decide
from core.soft_tokens.package import package_weights
from core.soft_tokens.packed import (
    Packed,
    first_tokens,
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
    *,
    record: bool = True,
) -> tuple[Tensor, list[Stage]]:
    """Run a batch with tokens removed where a selector says so; each image gets what it would get alone.

    Args:
        backbone: The ViT, in evaluation mode.
        selectors: By the block before which each stands, in rising order.
        images: (B, 3, H, W), normalised.
        decide: Turns scores into decisions.
        packaging: See `core.soft_tokens.package`.
        record: Whether to lay out what each selector did on the photo's grid, which takes a little time.

    Returns:
        Logits (B, C) and a record per selector, or none.
    """
    x = deit.embed(backbone, images)
    first = min(selectors)
    for block in backbone.blocks[:first]:
        x = block(x)
    prefix = backbone.num_prefix_tokens
    patches = x.shape[1] - prefix
    packed = pack(x, prefix)
    pruned: list[Pruned] = []
    for index, block in enumerate(backbone.blocks[first:], first):
        if index in selectors:
            packed, done = prune(packed, patches, prefix, selectors[index], decide, len(pruned), packaging, block)
            plan = plan_attention(packed.counts, images.device)
            pruned.append(done)
        packed = replace(packed, x=packed_block(block, packed.x, plan))
    logits = deit.classify(backbone, first_tokens(packed, prefix))
    return logits, [lay_out(done, patches, prefix) for done in pruned] if record else []


@dataclass(frozen=True, eq=False)
class Pruned:
    """What one selector did to a packed batch of M tokens."""

    before: Packed
    scores: Scores
    """Of all M tokens, in place of (B, N)."""
    kept: Tensor
    """bool, of the patches among them, in their order."""
    weight: Tensor
    """Of the same patches: each one's share of its image's package."""
    has_package: Tensor
    """bool (B,)."""


def prune(
    packed: Packed,
    patches: int,
    prefix: int,
    selector: Selector,
    decide: Decide,
    index: int,
    packaging: Packaging,
    block: Block,
) -> tuple[Packed, Pruned]:
    """One selector's work before `block`: score, decide, fold what leaves into packages."""
    batch = len(packed.counts)
    scores = selector(packed.x, packed.counts, prefix)
    rows = patch_rows(packed)
    seen = Scores(scores.logits[rows], scores.keep_prob[rows], scores.per_head[rows], scores.importance[rows])
    if getattr(decide, "looks", False):
        parts = block.norm1(packed.x).split(packed.counts)
        looked = torch.cat([deit.class_attention(block.attn, part[None], prefix=0)[0] for part in parts])
        seen = replace(seen, attention=looked[rows])
    if batch == 1:  # the patches that are alive, side by side
        alive = torch.ones_like(seen.keep_prob, dtype=torch.bool)[None]
        seen, keep_prob = seen.map(lambda score: score[None]), seen.keep_prob[None]
    else:  # all patches of the grid, or images would have different numbers of them
        cell = packed.cell[rows]
        seen = seen.map(lambda score: _on_grid(score, cell, batch, patches))
        alive = ~seen.keep_prob.isnan()
        keep_prob = seen.keep_prob.nan_to_num(0.0)
    kept = decide(index, seen, alive)
    weight, exists = package_weights(keep_prob, (alive & ~kept).float(), packaging)
    if batch == 1:
        kept, weight = kept[0], weight[0]
    else:
        kept, weight = kept.flatten()[cell], weight.flatten()[cell]
    packages = weighted_sums(packed, rows, weight.to(packed.x.dtype))
    return replace_tokens(packed, rows, kept, packages, exists), Pruned(packed, scores, kept, weight, exists)


def lay_out(done: Pruned, patches: int, prefix: int) -> Stage:
    """What a selector did, on the grid of N = `patches` patches of each image."""
    batch = len(done.before.counts)
    rows = patch_rows(done.before)
    cell = done.before.cell[rows]

    def grid(value: Tensor, empty: float = torch.nan) -> Tensor:
        return _on_grid(value, cell, batch, patches, empty)

    keep_prob = grid(done.scores.keep_prob[rows])
    return Stage(
        kept=grid(done.kept, False),
        keep_prob=keep_prob,
        package_weight=grid(done.weight, 0.0),
        has_package=done.has_package,
        seen=torch.tensor(done.before.counts) - prefix,
        patches=(~keep_prob.isnan()).sum(dim=1),
        per_head=grid(done.scores.per_head[rows]),
        importance=grid(done.scores.importance[rows]),
    )


def _on_grid(value: Tensor, cell: Tensor, batch: int, patches: int, empty: float = torch.nan) -> Tensor:
    """(m, ...) to (B, N, ...), `empty` where no patch is left."""
    whole = value.new_full((batch * patches, *value.shape[1:]), empty)
    return whole.index_copy_(0, cell, value).unflatten(0, (batch, patches))
