"""Attention rollout: how far the class token's attention reaches back to each patch, through all blocks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.soft_tokens.stages import Stage


def rollout(attentions: Sequence[Tensor | None], merges: Mapping[int, Tensor], tokens: int) -> Tensor:
    """Product over the blocks of (A_l + I) / 2, with the tokens that selectors replace in between.

    Args:
        attentions: Per block, mean over heads, (T_l, T_l), rows summing to 1; None for a block that is no attention:
            of what it does between tokens nothing is known here, and its residual path, I, is passed by.
        merges: By block, what the selector before it makes of the tokens: (T after, T before), see `merge_of`.
        tokens: T at the start.

    Returns:
        (T at the end, T at the start): what each last token is made of; rows sum to 1, less what was attended to a
        package of nothing, which is made of no patch.

    Raises:
        ValueError: If sizes do not follow from one another.

    Source: Abnar and Zuidema 2020, arXiv:2005.00928, attention rollout with residual connections. Selection and
    packages are ours: a kept token goes on as it is, a package is the weighted mean of what was folded into it.
    """
    reach = torch.eye(tokens, dtype=torch.float64)
    for index, attention in enumerate(attentions):
        if index in merges:
            reach = merges[index].double() @ reach
        if attention is not None:
            if attention.shape != (len(reach), len(reach)):
                raise ValueError(f"block {index} attends over {(*attention.shape,)}, {len(reach)} tokens reach it")
            reach = (attention.double() @ reach + reach) / 2
    return reach


def merge_of(before: Tensor, stage: Stage, prefix: int, packages: int) -> Tensor:
    """What one selector makes of the tokens of one image, (T after, T before).

    Rows sum to 1, but that of a package into which nothing was folded is 0: summed and not averaged (`packaging` is
    "weighted_sum"), there is such a package too.

    Args:
        before: bool (N,), patches alive before this selector.
        stage: Its work, on a batch of one.
        prefix: Class token and the like, in front.
        packages: Of earlier selectors, behind the patches.

    Returns:
        One row per token that goes on: prefix, kept patches, earlier packages, then the new package where there is one.
    """
    kept, alive = stage.kept[0].cpu(), before.cpu()
    here = alive.nonzero()[:, 0]  # cells of the patches, in the order of their tokens
    count = prefix + len(here) + packages
    same = torch.eye(count, dtype=torch.float64)
    stay = torch.ones(count, dtype=torch.bool)
    stay[prefix : prefix + len(here)] = kept[here]
    rows = [same[stay]]
    if bool(stage.has_package[0]):
        weight = stage.package_weight[0].detach().cpu().double()[here]
        package = torch.zeros(1, count, dtype=torch.float64)
        package[0, prefix : prefix + len(here)] = weight / (weight.sum() or 1.0)
        rows.append(package)
    return torch.cat(rows)


def merges_of(blocks: Sequence[int], stages: Sequence[Stage], prefix: int) -> dict[int, Tensor]:
    """`merge_of` for each selector of one image, by the block that it stands before."""
    merges, packages = {}, 0
    alive = torch.ones(stages[0].kept.shape[1], dtype=torch.bool)
    for block, stage in zip(blocks, stages, strict=True):
        merges[block] = merge_of(alive, stage, prefix, packages)
        alive, packages = stage.kept[0].cpu(), packages + int(stage.has_package[0])
    return merges
