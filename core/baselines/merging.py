"""Token merging (ToMe): in each block the most similar tokens become one, between attention and FFN.

Source for all of it: Bolya et al. 2023, "Token Merging: Your ViT But Faster", arXiv:2210.09461.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from core.baselines.attention import attend
from core.baselines.grouping import Grouping, apart
from core.families import deit
from core.families.block import take_fed, take_mixed


@dataclass(frozen=True, eq=False)
class Matching:
    """Which tokens of each image are merged into which others."""

    source: Tensor
    """int (B, r): positions of the tokens that go."""
    target: Tensor
    """int (B, r): position of the token that each of them goes into; one may take several."""


def match(keys: Tensor, merges: int, prefix: int) -> Matching:
    """Bipartite soft matching: every second token proposes to its most similar among the others; the best r merge.

    Args:
        keys: What similarity is judged by, (B, T, d); cosine.
        merges: r, at most half of the T - prefix tokens, rounded down.
        prefix: Tokens in front that are never merged: class, distillation, registers.

    Raises:
        ValueError: If there are not so many pairs.
    """
    there = keys.shape[1] - prefix
    if not 0 <= merges <= there // 2:
        raise ValueError(f"{merges} merges among {there} tokens, of which at most half can go")
    ours, theirs = (torch.arange(prefix + first, keys.shape[1], 2, device=keys.device) for first in (1, 0))
    unit = functional.normalize(keys, dim=-1)
    similar, nearest = (unit[:, ours] @ unit[:, theirs].transpose(-2, -1)).max(dim=-1)  # (B, n // 2) each
    best = similar.argsort(dim=1, descending=True, stable=True)[:, :merges]
    return Matching(ours[best], theirs[nearest.gather(1, best)])


def merge(x: Tensor, size: Tensor, found: Matching, prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    """Put each source into its target: the mean of both, weighted by their sizes.

    Args:
        x: Tokens, (B, T, D).
        size: Patches in each, (B, T).
        found: r pairs in each image.
        prefix: Tokens that stay in front.

    Returns:
        Tokens (B, T - r, D), the prefix first, then what is left of the proposing half, then the other half; their
        sizes (B, T - r); and where each old token is now, int (B, T).
    """
    into = found.target[..., None].expand(-1, -1, x.shape[-1])
    out_of = found.source[..., None].expand_as(into)
    total = x * size[..., None]
    total = total.scatter_add(1, into, total.gather(1, out_of))
    size = size.scatter_add(1, found.target, size.gather(1, found.source))
    half = 1 + (torch.arange(x.shape[1], device=x.device) - prefix + 1) % 2  # 1: proposes, 2: is proposed to
    half[:prefix] = 0
    rank = half.expand(x.shape[:2]).scatter(1, found.source, 3)
    order = rank.argsort(dim=1, stable=True)[:, : x.shape[1] - found.source.shape[1]]  # (B, T - r)
    place = torch.zeros_like(rank).scatter(1, order, torch.arange(order.shape[1], device=x.device).expand_as(order))
    place = place.scatter(1, found.source, place.gather(1, found.target))
    size = size.gather(1, order)
    return total.gather(1, order[..., None].expand(-1, -1, x.shape[-1])) / size[..., None], size, place


def merging_forward(
    model: VisionTransformer, images: Tensor, merges: Sequence[int], *, record: bool = True
) -> tuple[Tensor, Grouping | None]:
    """Run a dense ViT with `merges` tokens fewer behind each block's attention.

    Args:
        model: In evaluation mode; only read.
        images: (B, 3, H, W), normalised.
        merges: r of each block, L of them.
        record: False: the logits alone, a little sooner.

    Returns:
        Logits (B, C), and which token each patch is in at the end, or None.
    """
    x, prefix = deit.embed(model, images), model.num_prefix_tokens
    size = None
    groups = apart(len(x), x.shape[1] - prefix, prefix, x.device) if record else None
    for index, (block, count) in enumerate(zip(deit.blocks_of(model), merges, strict=True)):
        mixed, keys = attend(block.attn, block.norm1(x), size)
        x = take_mixed(block, x, mixed)
        if count:
            whole = x.new_ones(x.shape[:2]) if size is None else size
            x, size, place = merge(x, whole, match(keys, count, prefix), prefix)
            groups = groups and groups.moved(place, size > 1, index)
        x = take_fed(block, x)
    return deit.classify(model, x), groups
