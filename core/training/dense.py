"""The dense recipe: a ViT trained from scratch or from timm's weights on an ImageFolder."""

from torch import Tensor, nn

from core.training.objectives import Frozen, distilled_task_loss


class DenseStep(nn.Module):
    """Cross entropy against labels, hard (B,) or mixed (B, C), plus distillation where a teacher is given."""

    def __init__(self, model: nn.Module, teacher: nn.Module | None = None, smoothing: float = 0.1) -> None:
        """Args: `model` learns; `teacher` is frozen; `smoothing` applies to hard labels."""
        super().__init__()
        self.model = model
        self.teacher = Frozen(teacher) if teacher is not None else None
        self.smoothing = smoothing

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, for images (B, 3, H, W); `epoch` is not used."""
        return distilled_task_loss(self.model(images), targets, self.smoothing, self.teacher, images), {}
