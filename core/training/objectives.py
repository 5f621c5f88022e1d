"""What the recipes' losses are made of: the task, a frozen teacher, and distillation from it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config import Distill

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


def task_loss(logits: Tensor, targets: Tensor, rivals: Tensor | None = None) -> Tensor:
    """Cross entropy in float32; soft targets (B, C) are already smoothed by what mixed them.

    Args:
        logits: (B, C).
        targets: Labels (B,) or mixed ones (B, C); with `rivals` root x C + label, (B,).
        rivals: (R, C), bool: among which classes the photos of each root compete; the others' logits do not count.
    """
    if rivals is not None:
        allowed = rivals[targets // rivals.shape[1]]
        chances = logits.float().masked_fill(~allowed, -torch.inf).log_softmax(-1)
        right = chances.gather(1, (targets % rivals.shape[1])[:, None])[:, 0]
        each = chances.masked_fill(~allowed, 0).sum(-1) / allowed.sum(-1)
        return -((1 - SMOOTHING) * right + SMOOTHING * each).mean()
    return functional.cross_entropy(logits.float(), targets, label_smoothing=SMOOTHING if targets.ndim == 1 else 0.0)


def distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over images; logits (B, C) of both.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1; the distillation of arXiv:2112.13890.
    """
    return functional.kl_div(
        logits.float().log_softmax(-1), teacher.float().log_softmax(-1), reduction="batchmean", log_target=True
    )


def hard_distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy against the teacher's most likely class, mean over images; logits (B, C) of both.

    On the model's own answer, as single-path fine-tuning does it; there is no distillation token.

    Source: Touvron et al. 2021, arXiv:2012.12877, hard-label distillation; He et al. 2021, arXiv:2111.11802.
    """
    return functional.cross_entropy(logits.float(), teacher.argmax(dim=-1))


class Objective(nn.Module):
    """(1 - share) x task loss + share x distillation; the task loss alone without a teacher."""

    rivals: Tensor | None

    def __init__(
        self,
        teacher: nn.Module | None = None,
        kind: Distill = "none",
        share: float = 0.5,
        rivals: Tensor | None = None,
    ) -> None:
        """Set what to learn from.

        Args:
            teacher: Takes the student's images, gives logits of the student's classes.
            kind: "none", "soft" (KL) or "hard" (the teacher's first choice).
            share: Weight of the distillation, in [0, 1].
            rivals: See `task_loss`.

        Raises:
            ValueError: If a distillation has no teacher, or rivals are given beside one.
        """
        super().__init__()
        if kind != "none" and teacher is None:
            raise ValueError(f"{kind} distillation without a teacher")
        if kind != "none" and rivals is not None:
            raise ValueError("a teacher tells of all classes, whatever root a photo is of")
        self.teacher = None if kind == "none" or teacher is None else Frozen(teacher)
        self.kind = kind
        self.share = share
        self.register_buffer("rivals", rivals, persistent=False)

    def task(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The task loss, scalar."""
        return task_loss(logits, targets, self.rivals)

    def forward(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Loss, scalar, for logits (B, C), labels (B,) or mixed ones (B, C), and the images that gave the logits."""
        if self.teacher is None:
            return self.task(logits, targets)
        learn = distillation if self.kind == "soft" else hard_distillation
        return (1 - self.share) * self.task(logits, targets) + self.share * learn(logits, self.teacher(images))
