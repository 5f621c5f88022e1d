"""Training: pruned tokens stay in the tensor but are no key for anybody, so that gradients pass through decisions."""

import math

import torch
from torch import Tensor

from core.config import Packaging
from core.families.base import Backbone
from core.families.families import flat_family, layout_of
from core.soft_tokens.mixers import nearest_look
from core.soft_tokens.package import package_token
from core.soft_tokens.pit_masked import pit_masked_forward
from core.soft_tokens.policy import SoftDecide, masked_block, slice_scores
from core.soft_tokens.ranking import AttentionRanking, look, ranked_scores
from core.soft_tokens.selector import Selector
from core.soft_tokens.stages import Stage
from core.soft_tokens.swin_masked import swin_masked_forward


def masked_forward(
    backbone: Backbone,
    selectors: dict[int, Selector | AttentionRanking],
    images: Tensor,
    decide: SoftDecide,
    packaging: Packaging | None = "weighted_mean",
) -> tuple[Tensor, Tensor, list[Stage]]:
    """The same function as `gathered_forward` for the same decisions, in a form that gradients pass through.

    Args:
        backbone: The ViT.
        selectors: By the block before which each stands, in rising order.
        images: (B, 3, H, W), normalised.
        decide: Gives 1 for kept and 0 for pruned, as floats.
        packaging: See `core.soft_tokens.package`; None: what is pruned is gone, and nothing takes its place.

    Returns:
        Logits (B, C); patch tokens after the final norm, (B, N, D), of use where kept; and a record per selector.

    Source: Rao et al. 2021, arXiv:2106.02034, attention masking, which arXiv:2112.13890 trains with; here the
    mask is exact (no epsilon), so a kept token sees just what it would see if the others were gone.
    """
    # Where the grid changes, an image's one package goes along, so there is always one.
    if layout_of(backbone) == "pooled":
        return pit_masked_forward(backbone, selectors, images, decide, packaging or "weighted_mean")
    if layout_of(backbone) == "windows":
        return swin_masked_forward(backbone, selectors, images, decide, packaging or "weighted_mean")
    family = flat_family(backbone)
    x = family.embed(backbone, images)
    first = backbone.num_prefix_tokens
    patches = x.shape[1] - first
    alive = x.new_ones(len(x), patches, dtype=torch.float32)
    policy = x.new_ones(len(x), x.shape[1], dtype=torch.float32)  # who is a key: prefix, patches, packages
    stages: list[Stage] = []
    stands: list[Tensor] = []  # patches in each package
    for index, block in enumerate(family.blocks_of(backbone)):
        if index in selectors:
            chooser = selectors[index]
            if isinstance(chooser, AttentionRanking):
                looked = look(nearest_look(backbone, index), x, policy.detach())
                scores_all = ranked_scores(looked[:, first:])
            else:
                scores_all = chooser.masked(x[:, first:], policy[:, first:].detach())
            scores = slice_scores(scores_all, patches)
            kept = decide(len(stages), scores, alive.detach()) * alive
            dropped = alive * (1 - kept)
            token, exists, weight = package_token(x[:, first : first + patches], scores.keep_prob, dropped, packaging)
            was = alive.detach() > 0
            stages.append(
                Stage(
                    kept=kept.detach() > 0,
                    keep_prob=scores.keep_prob.masked_fill(~was, math.nan),
                    package_weight=weight.detach() * was,
                    has_package=exists,
                    seen=(policy[:, first:].detach() > 0).sum(dim=1),
                    patches=was.sum(dim=1),
                    scores=scores,
                )
            )
            stands.append(dropped.detach().sum(dim=1) * exists)
            alive = kept
            packages = torch.cat((policy[:, first + patches :], exists[:, None].float()), dim=1)
            policy = torch.cat((policy[:, :first], alive, packages), dim=1)
            x = torch.cat((x, token.to(x.dtype)), dim=1)
        x = masked_block(block, x, policy, slice(first, first + patches)) if stages else block(x)
    normed = backbone.norm(x)
    standing = torch.stack(stands, dim=1) if stands else alive.new_zeros(len(x), 0)
    logits = family.classify_masked(backbone, normed, alive.detach(), standing)
    return logits, normed[:, first : first + patches], stages
