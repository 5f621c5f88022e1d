"""Inference: pruned tokens really leave, with a different count per image in one batch."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from core.backbones import deit
from core.config import Packaging
from core.soft_tokens.decide import Decide
from core.soft_tokens.package import package_token
from core.soft_tokens.selector import Scores, Selector
from core.soft_tokens.stages import Stage


def gathered_forward(
    backbone: VisionTransformer,
    selectors: dict[int, Selector],
    images: Tensor,
    decide: Decide,
    packaging: Packaging = "weighted_mean",
) -> tuple[Tensor, list[Stage]]:
    """Run a batch with tokens removed where a selector says so.

    Images that keep fewer patches than the batch's largest count are padded, and the padding is no key for
    anybody, so each image gets what it would get alone.

    Args:
        backbone: The ViT.
        selectors: By the block before which each stands, in rising order.
        images: (B, 3, H, W), normalised.
        decide: Turns scores into decisions.
        packaging: See `core.soft_tokens.package`.

    Returns:
        Logits (B, C) and a record per selector.
    """
    x = deit.embed(backbone, images)
    batch, total, _ = x.shape
    patches = total - backbone.num_prefix_tokens
    prefix, x = x[:, : backbone.num_prefix_tokens], x[:, backbone.num_prefix_tokens :]
    packages = x[:, :0]
    position = torch.arange(patches, device=x.device).expand(batch, patches)  # where each token sat on the grid
    alive = torch.ones(batch, patches, dtype=torch.bool, device=x.device)  # False: padding
    present = alive[:, :0]  # (B, packages): this image has that package
    stages: list[Stage] = []
    for index, block in enumerate(backbone.blocks):
        if index in selectors:
            everyone = torch.cat((alive, present), dim=1)
            scores = selectors[index](torch.cat((x, packages), dim=1), everyone)
            scores = slice_scores(scores, x.shape[1])
            kept = decide(len(stages), scores, alive)
            dropped = alive & ~kept
            token, exists, weight = package_token(x, scores.keep_prob, dropped.float(), packaging)
            stages.append(_stage(position, patches, alive, kept, scores.keep_prob, weight, exists, everyone))
            x, position, alive = _compact(x, position, kept)
            if bool(exists.any()):
                packages, present = torch.cat((packages, token), dim=1), torch.cat((present, exists[:, None]), dim=1)
        mask = key_mask(prefix.shape[1], alive, present)
        tokens = block(torch.cat((prefix, x, packages), dim=1), attn_mask=mask)
        prefix, x, packages = tokens.split((prefix.shape[1], x.shape[1], packages.shape[1]), dim=1)
    return deit.classify(backbone, prefix), stages


def slice_scores(scores: Scores, patches: int) -> Scores:
    """Scores of the first `patches` tokens: packages are scored but never dropped."""
    return Scores(
        scores.logits[:, :patches],
        scores.keep_prob[:, :patches],
        scores.per_head[:, :patches],
        scores.importance[:, :patches],
    )


def key_mask(prefix: int, alive: Tensor, present: Tensor) -> Tensor | None:
    """Who may be attended to, bool (B, 1, 1, T); None where everybody may, which keeps the fast path."""
    if bool(alive.all()) and bool(present.all()):
        return None
    first = torch.ones(len(alive), prefix, dtype=torch.bool, device=alive.device)
    return torch.cat((first, alive, present), dim=1)[:, None, None, :]


def _compact(x: Tensor, position: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move kept tokens to the front, in their order, and cut at the largest count of the batch."""
    most = int(kept.sum(dim=1).max())
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, :most]  # (B, most)
    x = x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
    return x, position.gather(1, order), kept.gather(1, order)


def _stage(
    position: Tensor,
    patches: int,
    alive: Tensor,
    kept: Tensor,
    keep_prob: Tensor,
    weight: Tensor,
    exists: Tensor,
    everyone: Tensor,
) -> Stage:
    """The stage's record, put back on the original grid; padding writes to a cell that is cut off."""
    target = torch.where(alive, position, patches)

    def on_grid(value: Tensor, empty: float | bool) -> Tensor:
        grid = torch.full((len(value), patches + 1), empty, dtype=value.dtype, device=value.device)
        return grid.scatter(1, target, value)[:, :patches]

    return Stage(
        kept=on_grid(kept, False),
        keep_prob=on_grid(keep_prob, float("nan")),
        package_weight=on_grid(weight, 0.0),
        has_package=exists,
        seen=everyone.sum(dim=1),
        patches=alive.sum(dim=1),
    )
