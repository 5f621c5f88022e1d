"""The search recipe: gates put into a dense model and learned with its weights under a budget."""

from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.models.weights import GATES
from core.single_path.model import SinglePathViT
from core.single_path.search import expected_macs
from core.training.objectives import Objective
from core.training.rates import by_size


class SearchStep(nn.Module):
    """objective + lambda (expected GMACs - budget)^2, gates drawn anew at each step."""

    def __init__(
        self,
        model: SinglePathViT,
        geometry: Geometry,
        *,
        budget: float,
        weight: float,
        objective: Objective,
    ) -> None:
        """Args: `budget` in MACs; `weight` is lambda; `objective` is the task and its distillation."""
        super().__init__()
        self.model = model
        self.geometry = geometry
        self.budget = budget
        self.weight = weight
        self.objective = objective

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, and the expected GMACs, for images (B, 3, H, W)."""
        loss = self.objective(self.model(images), targets, images)
        gmacs = expected_macs(self.model, self.geometry) / 1e9
        loss = loss + self.weight * (gmacs - self.budget / 1e9) ** 2
        return loss, {"expected_gmacs": float(gmacs.detach())}


def search_groups(model: SinglePathViT, *, lr: float, gate_lr: float, weight_decay: float) -> list[dict]:
    """Parameter groups: weights at `lr` on the schedule; gates at the constant `gate_lr`, without decay."""
    gates = [p for name, p in model.named_parameters() if name.endswith(GATES)]
    weights = [{**group, "lr": lr} for group in by_size(model, weight_groups(model, weight_decay))]
    return [*weights, {"params": gates, "lr": gate_lr, "constant_lr": gate_lr, "weight_decay": 0.0}]


def weight_groups(model: SinglePathViT, weight_decay: float) -> list[dict]:
    """All parameters but the gates; no decay on biases, norms, positions, prefix tokens and head mixing."""
    skip = [name for name, _ in model.named_parameters() if name.endswith((*GATES, "head_logits"))]
    skip += [f"backbone.{name}" for name in model.backbone.no_weight_decay()]
    gates = {id(p) for name, p in model.named_parameters() if name.endswith(GATES)}
    groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=skip)
    return [{**group, "params": [p for p in group["params"] if id(p) not in gates]} for group in groups]
