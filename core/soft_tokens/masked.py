"""Training: pruned tokens stay in the tensor but are no key for anybody, so that gradients pass through decisions."""

import math
from collections.abc import Callable
from functools import partial, singledispatch

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from core.backbones import deit, lvvit
from core.backbones.block import PreNorm, attention, prenorm, scores
from core.backbones.lvvit import LVViT
from core.config import Packaging
from core.single_path.compact import ConvMixer, NoMixer
from core.soft_tokens.mixers import mix_patches, nearest_attention
from core.soft_tokens.package import package_token
from core.soft_tokens.ranking import AttentionRanking, look, ranked_scores
from core.soft_tokens.selector import Scores, Selector
from core.soft_tokens.stages import Stage

CLAMP = 60.0
"""exp(60) is still far from overflow in single precision."""
SoftDecide = Callable[[int, Scores, Tensor], Tensor]
"""Stage, scores of the patches, alive (B, N) in {0, 1} -> kept (B, N) in {0, 1}; may carry gradients."""


@singledispatch
def masked_forward(
    backbone: VisionTransformer,
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
    x = deit.embed(backbone, images)
    first = backbone.num_prefix_tokens
    patches = x.shape[1] - first
    alive = x.new_ones(len(x), patches, dtype=torch.float32)
    policy = x.new_ones(len(x), x.shape[1], dtype=torch.float32)  # who is a key: prefix, patches, packages
    stages: list[Stage] = []
    for index, block in enumerate(backbone.blocks):
        if index in selectors:
            chooser = selectors[index]
            if isinstance(chooser, AttentionRanking):
                looked = look(nearest_attention(backbone, index), x, policy.detach())
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
            alive = kept
            packages = torch.cat((policy[:, first + patches :], exists[:, None].float()), dim=1)
            policy = torch.cat((policy[:, :first], alive, packages), dim=1)
            x = torch.cat((x, token.to(x.dtype)), dim=1)
        x = masked_block(block, x, policy, slice(first, first + patches)) if stages else block(x)
    normed = backbone.norm(x)[:, : first + patches]
    if isinstance(backbone, LVViT):
        logits = lvvit.classify_masked(backbone, normed, alive.detach())
    else:
        logits = backbone.forward_head(normed[:, :first])
    return logits, normed[:, first:], stages


def slice_scores(scores: Scores, patches: int) -> Scores:
    """Scores of the first `patches` tokens: packages are scored but never dropped."""
    return scores.map(lambda score: score[:, :patches])


def masked_block(block: PreNorm, x: Tensor, policy: Tensor, patches: slice) -> Tensor:
    """A block in which token j counts as a key policy_j times, (B, T, D) in and out.

    A 1x1 convolution and a missing mixer need no policy, since no token sees another there.
    """
    if isinstance(block.attn, ConvMixer):
        return prenorm(block, x, partial(mix_patches, block.attn, rows=patches))
    if isinstance(block.attn, NoMixer):
        return prenorm(block, x, block.attn)
    drop = block.attn.attn_drop if block.training else None
    return prenorm(block, x, partial(attention, block.attn, weigh=partial(by_policy, policy=policy, drop=drop)))


def by_policy(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, policy: Tensor, drop: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Weigh values (B, H, T, d) so that token j counts as a key policy_j times.

    weights_ij = policy_j exp(s_ij) / sum_k policy_k exp(s_ik). With policy (B, T) in {0, 1} this is a key mask whose
    gradient tells what a pruned token would have changed.
    """
    found = scores(q, k, scale).float()
    keys = policy[:, None, None, :]
    highest = found.detach().masked_fill(keys == 0, -torch.inf).amax(dim=-1, keepdim=True)
    weights = (found - highest).clamp(max=CLAMP).exp() * keys  # clamped: a dead key may lie far above the alive ones
    weights = (weights / weights.sum(dim=-1, keepdim=True)).to(v.dtype)
    return (weights if drop is None else drop(weights)) @ v
