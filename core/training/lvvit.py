"""The dense recipe of LV-ViT as far as labels of whole photos go: the auxiliary head learns the photo's label too.

Left out is token labelling itself (Jiang et al. 2021, arXiv:2104.10858): a label for every patch, which a large
classifier gives beforehand, and the mixing of patches that goes with it. Without them every patch is told the label,
mixed or not, of its whole photo.
"""

from torch import Tensor, nn

from core.families.base import Backbone
from core.families.lvvit import LVViT
from core.training.dense import DenseStep
from core.training.objectives import Objective

DENSE_WEIGHT = 0.5
"""Of the patches' loss, as published."""


class LvvitStep(nn.Module):
    """The class head learns by the objective, the auxiliary head by cross entropy on every patch."""

    def __init__(self, model: LVViT, objective: Objective) -> None:
        """Args: `model` learns."""
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, for images (B, 3, H, W) and labels, (B,) or mixed ones (B, C); `epoch` is not used."""
        model = self.model
        tokens = model.forward_features(images)  # (B, 1 + N, D), normalised
        loss = self.objective(model.head(tokens[:, 0]), targets, images)
        if model.aux_head is None:
            return loss, {}
        logits = model.aux_head(tokens[:, 1:])  # (B, N, C)
        aux = self.objective.task(logits.flatten(0, 1), targets.repeat_interleave(logits.shape[1], dim=0))
        return loss + DENSE_WEIGHT * aux, {"aux_loss": float(aux.detach())}


def dense_step(model: Backbone, objective: Objective) -> DenseStep | LvvitStep:
    """The dense recipe for this model."""
    return (DenseStep if getattr(model, "aux_head", None) is None else LvvitStep)(model, objective)
