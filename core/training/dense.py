"""The dense recipe: a ViT trained from scratch or from timm's weights on an ImageFolder."""

from torch import Tensor, nn

from core.training.objectives import task_loss


class DenseStep(nn.Module):
    """Cross entropy against labels, hard (B,) or mixed (B, C)."""

    def __init__(self, model: nn.Module) -> None:
        """Args: `model` learns."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, for images (B, 3, H, W); `epoch` is not used."""
        return task_loss(self.model(images), targets), {}
