"""Binary gates with a learnable probability of being open, and how the three gates of a block nest."""

import torch
from torch import Tensor

START_LOGIT = 1.5
"""Where every gate's logit starts: open with probability 0.82."""


def sample_open(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One draw of each gate, the same for the whole batch: 0 or 1, with a gradient to the logits.

    z = [sigmoid(theta + logistic noise) > 0.5]; the gradient is that of the relaxed value (straight-through).

    Args:
        logits: theta, any shape.
        generator: For a repeatable draw.

    Returns:
        Same shape, values in {0, 1}; P(z = 1) = sigmoid(theta).

    Source: Maddison et al. 2017, arXiv:1611.00712, binary concrete at temperature 1; He et al. 2021,
    arXiv:2111.11802, architecture gates.
    """
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp(1e-6, 1 - 1e-6)
    relaxed = torch.sigmoid(logits + uniform.log() - (-uniform).log1p())
    hard = (relaxed > 0.5).to(relaxed.dtype)
    return hard + (relaxed - relaxed.detach())  # exactly 0 or 1


def is_open(logits: Tensor) -> Tensor:
    """The evaluation decision, [sigmoid(theta) > 0.5], as 0.0 or 1.0."""
    return (logits > 0).to(logits.dtype)


def nest(z: Tensor) -> Tensor:
    """Gates of one block from its draws: g_1 = z_1, g_2 = z_1 z_2, g_3 = z_1 z_2 z_3; (..., 3) in and out.

    Also the expectation of the gates when `z` holds probabilities, since the draws are independent.
    """
    return z.cumprod(dim=-1)


def stop_below(g: Tensor) -> Tensor:
    """The same gates, with no gradient to those below an open one: (3,) in and out, g_1 first.

    When the attention's gate is open the step says nothing about the convolutions, which did not run. Out of
    place; He et al.'s code writes into a tensor that autograd needs.
    """
    open_above = torch.cat((g[1:], g.new_zeros(1))).detach()  # is a more expensive gate open?
    return torch.where(open_above > 0, g.detach(), g)
