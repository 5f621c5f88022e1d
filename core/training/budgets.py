"""What follows a search: its weights trained on, for one budget or for any, drawn at random at each step."""

import torch
from torch import Tensor, nn

from core.config import Geometry
from core.macs import count_macs
from core.single_path.compact import derived_gating
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.training.objectives import Objective


class BudgetStep(nn.Module):
    """One training step at one budget; gates stand still, so a budget is the same sub-network every time."""

    def __init__(
        self,
        model: SinglePathViT,
        geometry: Geometry,
        objective: Objective,
        *,
        least: float,
        most: float = 1.0,
    ) -> None:
        """Args: `model` from a search; budgets are drawn between `least` and `most`, shares of the dense MACs."""
        super().__init__()
        self.model = model
        self.objective = objective
        self.least, self.most = least, most
        self.dense_macs = count_macs(geometry).total
        self.gates = gates_of(model, geometry)
        for path in model.paths:
            path.mixer_logits.requires_grad_(False)
            path.ffn_logits.requires_grad_(False)

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, and the budget's share, for images (B, 3, H, W); `epoch` is not used."""
        share = float(torch.empty(()).uniform_(self.least, self.most))
        gating = derived_gating(derive(self.gates, share * self.dense_macs), images.device)
        logits = self.model(images, gating)
        return self.objective(logits, targets, images), {"share": share}
