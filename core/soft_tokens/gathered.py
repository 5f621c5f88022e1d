"""Inference: pruned tokens really leave, another number for each image of a batch."""

from functools import partial

from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone, Left
from core.families.families import blocks_of, flat_family, layout_of
from core.soft_tokens import one_image, packed
from core.soft_tokens.decide import Decide
from core.soft_tokens.lean import lean_block
from core.soft_tokens.mixers import left_block, mixer_of, nearest_look
from core.soft_tokens.pit_gathered import pit_gathered_forward
from core.soft_tokens.ranking import Choosing
from core.soft_tokens.stages import Pruned, Stage, lay_out
from core.soft_tokens.swin_gathered import swin_gathered_forward


def gathered_forward(
    backbone: Backbone,
    selectors: dict[int, Choosing],
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
        record: Whether to lay out what each selector did on the photo's grid, and to run one image's blocks as
            modules, which hooks see; both take a little time.

    Returns:
        Logits (B, C) and a record per selector, or none.
    """
    if layout_of(backbone) == "pooled":
        return pit_gathered_forward(backbone, selectors, images, decide, packaging, record=record)
    if layout_of(backbone) == "windows":
        return swin_gathered_forward(backbone, selectors, images, decide, packaging, record=record)
    family = flat_family(backbone)
    x = family.embed(backbone, images)
    first, alone = min(selectors), len(images) == 1
    for block in family.blocks_of(backbone)[:first]:
        x = lean_block(block, x) if alone and not record else block(x)
    if alone:
        prefix, left, done = _run_one(backbone, selectors, x, first, decide, packaging, record=record)
    else:
        prefix, left, done = _run_batch(backbone, selectors, x, first, decide, packaging)
    logits = family.classify(backbone, prefix, left)
    return logits, [lay_out(one, backbone.patch_embed.num_patches) for one in done] if record else []


def _run_one(
    backbone: Backbone,
    selectors: dict[int, Choosing],
    x: Tensor,
    first: int,
    decide: Decide,
    packaging: Packaging,
    *,
    record: bool,
) -> tuple[Tensor, Left, list[Pruned]]:
    """From block `first` on, for one image (1, T, D); its prefix tokens, what else is left, what each selector did."""
    prefix: int = backbone.num_prefix_tokens
    done: list[Pruned] = []
    count = x.shape[1] - prefix
    tokens = one_image.begin(x, prefix)
    for index, block in enumerate(blocks_of(backbone)[first:], first):
        if index in selectors:
            looking = nearest_look(backbone, index)
            tokens, pruned = one_image.prune(tokens, prefix, selectors[index], decide, len(done), packaging, looking)
            done.append(pruned)
        patches = slice(prefix, prefix + len(tokens.cell))
        lean = not record and mixer_of(block) == "msa"
        x = lean_block(block, tokens.x) if lean else left_block(block, tokens.x, patches)
        tokens = one_image.Tokens(x, tokens.cell)
    left = partial(one_image.left, tokens, prefix, count, done)
    return one_image.first_tokens(tokens, prefix), left, done


def _run_batch(
    backbone: Backbone,
    selectors: dict[int, Choosing],
    x: Tensor,
    first: int,
    decide: Decide,
    packaging: Packaging,
) -> tuple[Tensor, Left, list[Pruned]]:
    """The same for several images (B, T, D)."""
    prefix: int = backbone.num_prefix_tokens
    done: list[Pruned] = []
    patches = x.shape[1] - prefix
    tokens = packed.pack(x, prefix)
    for index, block in enumerate(blocks_of(backbone)[first:], first):
        if index in selectors:
            looking = nearest_look(backbone, index)
            tokens, pruned = packed.prune(
                tokens, patches, prefix, selectors[index], decide, len(done), packaging, looking
            )
            plan = packed.plan_attention(tokens.counts, x.device)
            done.append(pruned)
        tokens = packed.Packed(packed.packed_block(block, tokens, plan), tokens.cell, tokens.counts)
    return packed.first_tokens(tokens, prefix), partial(packed.left, tokens, prefix, patches, done), done
