"""What the recipes' losses are made of: the task, a frozen teacher, and distillation from it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SMOOTHING = 0.1
"""Of the labels."""


class Frozen(nn.Module):
    """A teacher: no gradients, and evaluation mode whatever the step around it is told."""

    def __init__(self, module: nn.Module) -> None:
        """Args: `module` is put in evaluation mode, its parameters need no gradient from now on."""
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Frozen":
        """Stays in evaluation mode."""
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The teacher's own output."""
        return self.module(images)


def task_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in float32; soft targets (B, C) are already smoothed by what mixed them."""
    return functional.cross_entropy(logits.float(), targets, label_smoothing=SMOOTHING if targets.ndim == 1 else 0.0)


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over images; logits (B, C) of both.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1; the distillation of arXiv:2112.13890.
    """
    return functional.kl_div(
        logits.float().log_softmax(-1), teacher.float().log_softmax(-1), reduction="batchmean", log_target=True
    )


def distilled_task_loss(logits: Tensor, targets: Tensor, teacher: Frozen, images: Tensor) -> Tensor:
    """The mean of the task loss and the distillation from `teacher`."""
    return 0.5 * task_loss(logits, targets) + 0.5 * distillation(logits, teacher(images))
