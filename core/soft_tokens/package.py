"""The package token: what the patches that leave at one stage leave behind."""

import torch
from torch import Tensor

from core.config import Packaging


def package_weights(keep_prob: Tensor, dropped: Tensor, packaging: Packaging | None) -> tuple[Tensor, Tensor]:
    """Weight of each patch in its image's package.

    Args:
        keep_prob: Probability of keeping each patch, (B, N), in (0, 1).
        dropped: 1 where the patch leaves at this stage, else 0, (B, N); float, so that gradients pass.
        packaging: "weighted_mean" divides by the sum of the weights (ours), "weighted_sum" does not
            (the release's training file); None makes no package.

    Returns:
        Weights (B, N), all 0 where nothing was dropped, and whether each image has a package, bool (B,): as a mean
        where something was dropped; as a sum always, since the release attends to a package of nothing too.
    """
    weight = keep_prob * dropped
    if packaging is None:
        return torch.zeros_like(weight), torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    if packaging == "weighted_sum":
        return weight, torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    total = weight.sum(dim=1, keepdim=True)
    weight = weight / torch.where(total > 0, total, 1.0)
    return weight, (dropped.detach() > 0).any(dim=1)


def package_token(
    x: Tensor, keep_prob: Tensor, dropped: Tensor, packaging: Packaging | None = "weighted_mean"
) -> tuple[Tensor, Tensor, Tensor]:
    """Fold the patches that each image drops at this stage into one token.

    p_b = sum_n w_bn x_bn / sum_n w_bn, with w = keep_prob * dropped.

    Args:
        x: Patch tokens, (B, N, D).
        keep_prob: Probability of keeping each patch, (B, N), in (0, 1).
        dropped: 1 where the patch leaves at this stage, else 0, (B, N); float, so that gradients pass.
        packaging: See `package_weights`.

    Returns:
        Package tokens (B, 1, D), zero for an image that drops nothing; whether each image has one, bool (B,);
        and the weights (B, N).

    Raises:
        ValueError: If `keep_prob` or `dropped` is not (B, N).

    Source: Kong et al. 2022, arXiv:2112.13890, token packaging.
    """
    if keep_prob.shape != x.shape[:2] or dropped.shape != x.shape[:2]:
        raise ValueError(f"x {(*x.shape,)}, score {(*keep_prob.shape,)}, dropped {(*dropped.shape,)}")
    weight, exists = package_weights(keep_prob, dropped, packaging)
    return torch.einsum("bn,bnd->bd", weight.to(x.dtype), x)[:, None], exists, weight
