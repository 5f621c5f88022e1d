"""The token recipe: selectors put into a dense model and trained with it, so that their decisions mean something.

The published recipe (Gumbel noise, ratio loss on the sampled share) is met by a keep probability equal to the target
for every patch; then the ranking means nothing. Here decisions are deterministic and compare the patches of one photo:
half of the steps keep the k best patches for a random schedule, half take the selector's own decision under the ratio
loss; the gradient reaches a dropped patch through the attention mask.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.utils.data import DataLoader

from core.soft_tokens.decide import keep_count, own_decision, top_k
from core.soft_tokens.losses import ratio_loss, straight_through, token_distillation
from core.soft_tokens.masked import SoftDecide, masked_forward
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.selector import Scores, shift_margin
from core.training.objectives import Frozen, distillation, task_loss


@dataclass(frozen=True)
class TokenSettings:
    """What the token recipe trains for."""

    targets: tuple[float, ...]
    """Share of the original patches alive after each selector."""
    ratio_weight: float = 2.0
    distill_weight: float = 0.5
    token_weight: float = 0.5
    temperature: float = 1.0
    """Of the straight-through gradient; halves over the run."""
    smoothing: float = 0.1
    noise: float = 1.0
    """Logistic noise on the ranking, fading to 0 over the first half of the run: tries patches that rank low."""


class DenseTeacher(nn.Module):
    """A dense ViT that also gives its last patch tokens."""

    def __init__(self, model: VisionTransformer) -> None:
        """Args: `model` is used as it is."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and normalised patch tokens (B, N, D)."""
        tokens = self.model.forward_features(images)
        return self.model.forward_head(tokens), tokens[:, self.model.num_prefix_tokens :]


class TokenStep(nn.Module):
    """One training step of a model with selectors, distilled from the dense model it came from."""

    def __init__(self, model: SoftTokenViT, teacher: VisionTransformer, settings: TokenSettings, epochs: int) -> None:
        """Args: `model` learns; `teacher` is the dense model, frozen; `epochs` is the length of the run."""
        super().__init__()
        self.model = model
        self.teacher = Frozen(DenseTeacher(teacher))
        self.settings = settings
        self.epochs = epochs

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, and what to log, for images (B, 3, H, W) and labels (B,)."""
        cfg = self.settings
        progress = epoch / self.epochs
        temperature = cfg.temperature * 0.5**progress
        noise = cfg.noise * max(0.0, 1 - 2 * progress)
        own = bool(torch.rand(()) < 0.5)
        if own:
            shares = list(cfg.targets)
            decide, kept = own_soft(temperature, noise)
        else:
            shares = random_schedule(cfg.targets)
            decide, kept = top_soft(
                shares, images.shape, self.model.backbone.patch_embed.num_patches, temperature, noise
            )
        logits, tokens, stages = masked_forward(
            self.model.backbone, self.model.by_block(), images, decide, self.model.packaging
        )
        teacher_logits, teacher_tokens = self.teacher(images)
        loss = task_loss(logits, targets, cfg.smoothing)
        loss = loss + cfg.distill_weight * distillation(logits, teacher_logits)
        loss = loss + cfg.token_weight * token_distillation(tokens, teacher_tokens, stages[-1].kept)
        ratio = ratio_loss(kept, shares)
        loss = loss + cfg.ratio_weight * ratio
        return loss, {"ratio_loss": float(ratio.detach())}


def random_schedule(targets: tuple[float, ...]) -> list[float]:
    """A keep schedule drawn around the targets: from half of each up to where nothing much is dropped, never rising."""
    power = float(torch.empty(()).uniform_(0.25, 1.6))
    return [target**power for target in targets]


def top_soft(
    shares: list[float], shape: torch.Size, patches: int, temperature: float, noise: float
) -> tuple[SoftDecide, list[Tensor]]:
    """Keep the k best patches of each photo; also the list in which the decisions collect, a (B, N) per stage."""
    collected: list[Tensor] = []

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        value = scores.logits[..., 0]
        count = keep_count(shares[stage], patches)
        tried = _noisy(value, noise)
        kept = top_k(tried, alive > 0, count)
        threshold = tried.detach().masked_fill(~kept, float("inf")).amin(dim=1, keepdim=True)
        collected.append(straight_through(tried, threshold, temperature, kept))
        return collected[-1]

    return decide, collected


def own_soft(temperature: float, noise: float) -> tuple[SoftDecide, list[Tensor]]:
    """The selector's own decision; also the list in which the decisions collect, a (B, N) per stage."""
    collected: list[Tensor] = []

    def decide(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        value = _noisy(scores.margin, noise)
        kept = straight_through(value, 0.0, temperature, (value >= 0) & (alive > 0)) * alive
        collected.append(kept)
        return kept

    return decide, collected


def _noisy(value: Tensor, scale: float) -> Tensor:
    """`value` plus logistic noise."""
    if scale == 0:
        return value
    uniform = torch.rand_like(value).clamp(1e-6, 1 - 1e-6)
    return value + scale * (uniform.log() - (-uniform).log1p())


@torch.inference_mode()
def calibrate(model: SoftTokenViT, loader: DataLoader, targets: tuple[float, ...]) -> None:
    """Shift each selector's threshold, in place, so that over `loader` its decisions keep the target share.

    Args:
        model: In evaluation mode.
        loader: Held-out photos of the training split, images and labels.
        targets: Share of the original patches alive after each selector.
    """
    patches = model.backbone.patch_embed.num_patches
    for stage, block in enumerate(model.blocks):
        margins: list[Tensor] = []

        def collect(index: int, scores: Scores, alive: Tensor, stage: int = stage, margins: list = margins) -> Tensor:
            if index == stage:
                margins.append(torch.where(alive, scores.margin, -torch.inf).cpu())
            return own_decision(index, scores, alive)

        images = sum(len(model.run(batch.to(next(model.parameters()).device), collect)[0]) for batch, _ in loader)
        pooled = torch.cat([m.flatten() for m in margins]).sort(descending=True).values
        wanted = min(max(1, round(targets[stage] * patches * images)), int(pooled.isfinite().sum()))
        shift_margin(model.by_block()[block], -float(pooled[wanted - 1]) + 1e-6)


def token_groups(model: SoftTokenViT, *, lr: float, backbone_lr: float, weight_decay: float, wait: float) -> list[dict]:
    """Parameter groups: selectors at `lr`, the backbone at `backbone_lr` once `wait` epochs have passed."""
    groups = param_groups_weight_decay(model.selectors, weight_decay)
    backbone = param_groups_weight_decay(model.backbone, weight_decay, model.backbone.no_weight_decay())
    return [
        *({**group, "lr": lr} for group in groups),
        *({**group, "lr": backbone_lr, "wait_epochs": wait} for group in backbone),
    ]
