"""The dense recipe: a classifier trained from scratch or from timm's weights on an ImageFolder."""

from torch import Tensor, nn

from core.training.objectives import Objective


class DenseStep(nn.Module):
    """Cross entropy against labels, hard (B,) or mixed (B, C), and distillation where there is a teacher."""

    def __init__(self, model: nn.Module, objective: Objective | None = None) -> None:
        """Args: `model` learns; without an `objective` from the labels alone."""
        super().__init__()
        self.model = model
        self.objective = objective or Objective()

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, for images (B, 3, H, W); `epoch` is not used."""
        return self.objective(self.model(images), targets, images), {}
