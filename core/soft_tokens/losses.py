"""Losses of token pruning: how many are kept, what the kept ones carry, and which ones matter."""

import torch
from torch import Tensor


def ratio_loss(kept: list[Tensor], targets: list[float]) -> Tensor:
    """Mean over stages of (kept fraction - target)^2, the fraction being a mean over the batch.

    Args:
        kept: Per stage (B, N) in {0, 1}, with gradients.
        targets: Per stage, share of the original patches.

    Source: Kong et al. 2022, arXiv:2112.13890, ratio loss; here on the deterministic decision, since on a sampled
    one a keep probability equal to the target for every patch satisfies it.
    """
    terms = [(k.mean() - target) ** 2 for k, target in zip(kept, targets, strict=True)]
    return torch.stack(terms).mean()


def token_distillation(tokens: Tensor, teacher: Tensor, kept: Tensor) -> Tensor:
    """Mean squared difference to the dense model's last patch tokens, over the patches still alive.

    Args:
        tokens: Of the pruned model, (B, N, D).
        teacher: Of the dense model, (B, N, D).
        kept: bool (B, N): alive after the last stage.

    Source: Kong et al. 2022, arXiv:2112.13890, token distillation.
    """
    weight = kept.to(tokens.dtype)[..., None]
    count = weight.sum().clamp(min=1.0) * tokens.shape[-1]
    return ((tokens - teacher).float() ** 2 * weight).sum() / count


def straight_through(value: Tensor, threshold: Tensor | float, temperature: float, kept: Tensor) -> Tensor:
    """`kept` in {0, 1} with the gradient of sigmoid((value - threshold) / temperature); all (B, N)."""
    soft = torch.sigmoid((value - threshold) / temperature)
    return kept.to(soft.dtype) + (soft - soft.detach())  # exactly 0 or 1
