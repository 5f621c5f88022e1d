"""Token reorganisation (EViT): what the class token looks at least is fused into one token, between attention and FFN.

Source for all of it: Liang et al. 2022, "Not All Patches are What You Need: Expediting Vision Transformers via Token
Reorganizations", arXiv:2202.07800.
"""

from collections.abc import Mapping

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from core.baselines.attention import attend_and_tell
from core.baselines.grouping import Grouping, apart
from core.families import deit
from core.families.block import take_fed, take_mixed


def reorganise(x: Tensor, looked: Tensor, keep: int, prefix: int) -> tuple[Tensor, Tensor]:
    """Keep the `keep` tokens that the class token looks at most, in their order, and fuse the others into one.

    f = sum_i a_i x_i / sum_i a_i over the others. The paper's text says weighted average; its equation leaves out the
    denominator, which fine-tuning can make up for and untouched weights cannot.

    Args:
        x: Tokens, (B, T, D).
        looked: Attention of the class token on each, (B, T).
        keep: From 1 to below T - prefix.
        prefix: Tokens in front that always stay.

    Returns:
        Tokens (B, prefix + keep + 1, D), the fused one last, and where each old token is now, int (B, T).

    Raises:
        ValueError: If nothing, or nothing else, would be kept.
    """
    there = x.shape[1] - prefix
    if not 1 <= keep < there:
        raise ValueError(f"{keep} of {there} tokens to keep")
    ranked = looked[:, prefix:].argsort(dim=1, descending=True, stable=True) + prefix
    kept, others = ranked[:, :keep].sort(dim=1).values, ranked[:, keep:]
    weight = looked.gather(1, others)
    weight = weight / weight.sum(dim=1, keepdim=True)
    fused = weight[:, None] @ _take(x, others)  # (B, 1, D)
    place = torch.full(x.shape[:2], prefix + keep, device=x.device)
    place[:, :prefix] = torch.arange(prefix, device=x.device)
    place = place.scatter(1, kept, (torch.arange(keep, device=x.device) + prefix).expand_as(kept))
    return torch.cat((x[:, :prefix], _take(x, kept), fused), dim=1), place


def _take(x: Tensor, at: Tensor) -> Tensor:
    """Tokens (B, k, D) of (B, T, D) at positions (B, k)."""
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[-1]))


def inattentive_forward(
    model: VisionTransformer, images: Tensor, keep: Mapping[int, int], *, record: bool = True
) -> tuple[Tensor, Grouping | None]:
    """Run a dense ViT that reorganises its tokens in some blocks.

    A fused token is a token like others in later blocks: it may be kept, or fused once more.

    Args:
        model: In evaluation mode; only read.
        images: (B, 3, H, W), normalised.
        keep: By block, from 0, the tokens to keep, prefix not counted; where there are no more than that, all stay.
        record: False: the logits alone, a little sooner.

    Returns:
        Logits (B, C), and which token each patch is in at the end, or None.
    """
    x, prefix = deit.embed(model, images), model.num_prefix_tokens
    groups = apart(len(x), x.shape[1] - prefix, prefix, x.device) if record else None
    shared = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    for index, block in enumerate(deit.blocks_of(model)):
        if index not in keep or keep[index] >= x.shape[1] - prefix:
            x = block(x)
            continue
        mixed, looked = attend_and_tell(block.attn, block.norm1(x))
        x, place = reorganise(take_mixed(block, x, mixed), looked, keep[index], prefix)
        if groups is not None:
            shared = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device).scatter(1, place, shared)
            shared = functional.pad(shared[:, :-1], (0, 1), value=True)
            groups = groups.moved(place, shared, index)
        x = take_fed(block, x)
    return deit.classify(model, x), groups
