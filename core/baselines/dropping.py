"""Random dropping: before some blocks, patches drawn by chance leave and nothing takes their place."""

from collections.abc import Mapping, Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from core.baselines.grouping import GONE, Grouping, apart
from core.families import deit


def dropping_forward(
    model: VisionTransformer,
    images: Tensor,
    keep: Mapping[int, int],
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    record: bool = True,
) -> tuple[Tensor, Grouping | None]:
    """Run a dense ViT that loses patches at random, other ones in each image.

    Args:
        model: In evaluation mode; only read.
        images: (B, 3, H, W), normalised.
        keep: By block, from 0, the patches that are left when it begins, never more than there are.
        generator: On the CPU, for a repeatable draw; or one for each image.
        record: False: the logits alone, a little sooner.

    Returns:
        Logits (B, C), and which token each patch is at the end, or None.
    """
    x, prefix = deit.embed(model, images), model.num_prefix_tokens
    groups = apart(len(x), x.shape[1] - prefix, prefix, x.device) if record else None
    for index, block in enumerate(model.blocks):
        there = x.shape[1] - prefix
        if keep.get(index, there) < there:
            draw = _numbers(generator, len(x), there).argsort(dim=1)[:, : keep[index]]
            stay = torch.arange(prefix).expand(len(x), prefix)
            stay = torch.cat((stay, draw.sort(dim=1).values + prefix), dim=1).to(x.device)
            place = torch.full(x.shape[:2], GONE, device=x.device)
            place = place.scatter(1, stay, torch.arange(stay.shape[1], device=x.device).expand_as(stay))
            x = x.gather(1, stay[..., None].expand(-1, -1, x.shape[-1]))
            groups = groups and groups.moved(place, torch.zeros_like(stay, dtype=torch.bool), index)
        x = block(x)
    return deit.classify(model, x), groups


def _numbers(generator: torch.Generator | Sequence[torch.Generator], images: int, patches: int) -> Tensor:
    """Random numbers in [0, 1), (images, patches)."""
    if isinstance(generator, torch.Generator):
        return torch.rand(images, patches, generator=generator)
    return torch.stack([torch.rand(patches, generator=own) for own in generator])
