"""What follows a search: its weights trained on, for one budget or for any, drawn at random at each step."""

from functools import cached_property

import torch
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.results import Architecture
from core.single_path.compact import derived_gating
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.single_path.searched import Gates
from core.training.objectives import Objective


class BudgetStep(nn.Module):
    """One training step at one budget; gates stand still, so a budget is the same sub-network every time."""

    def __init__(
        self,
        model: SinglePathViT,
        geometry: Geometry,
        objective: Objective,
        *,
        least: float = 1.0,
        only: Architecture | None = None,
    ) -> None:
        """Set what is trained.

        Args:
            model: From a search.
            geometry: Of the dense model.
            objective: Task and distillation.
            least: Budgets are drawn from this share of the dense MACs to all of them.
            only: Train this architecture alone instead.
        """
        super().__init__()
        self.model = model
        self.objective = objective
        self.least = least
        self.only = only
        self.dense_macs = count_macs(geometry).total
        self.geometry = geometry
        for path in model.paths:
            path.mixer_logits.requires_grad_(False)
            path.ffn_logits.requires_grad_(False)

    @cached_property
    def gates(self) -> Gates:
        """The model's gates, taken when they are first needed: after a state was loaded, where a run is resumed."""
        return gates_of(self.model, self.geometry)

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, and the budget's share, for images (B, 3, H, W); `epoch` is not used."""
        chosen = self.only
        if chosen is None:
            share = self.least + (1 - self.least) * float(torch.rand(()))
            chosen = derive(self.gates, share * self.dense_macs)
        logits = self.model(images, derived_gating(chosen, images.device))
        return self.objective(logits, targets, images), {"share": chosen.macs / self.dense_macs}
