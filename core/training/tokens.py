"""The token recipe: selectors put into a dense model and trained with it, so that their decisions mean something.

The published recipe (Gumbel noise, ratio loss on the sampled share) is met by a keep probability equal to the target
for every patch; then the ranking means nothing. Here nothing is sampled. A selector learns to tell, photo by photo,
which patches the dense model's class token will look at in the blocks to come, or which its answer, or that of a CNN,
hangs on: `rank_by`; the backbone learns to work with what those decisions leave: mostly the k best patches for a
schedule drawn at random, else the selector's own decision, whose threshold is pulled to the target. What was tried, and
what it gave, is in tests/assets/models.md.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from core.config import RankBy
from core.errors import InputError
from core.families import deit
from core.families.base import Backbone
from core.families.families import flat_family, layout_of
from core.soft_tokens.decide import keep_count, own_decision, random_share, top_share
from core.soft_tokens.losses import ratio_loss, straight_through, token_distillation
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.mixers import mixer_of
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.selector import Scores, Selector, shift_margin
from core.soft_tokens.stages import Stage
from core.training.objectives import Frozen, Objective, distillation, task_loss
from core.training.rates import by_size
from core.training.saliency import SaliencyTeacher, TeacherSaliency
from core.training.staged import StagedTeacher
from core.training.teachers import Teacher


@dataclass(frozen=True)
class TokenSettings:
    """What the token recipe trains for."""

    targets: tuple[float, ...]
    """Share of the original patches alive after each selector."""
    distill_weight: float = 0.5
    token_weight: float = 0.5
    ratio_weight: float = 2.0
    rank_weight: float = 1.0
    own_share: float = 0.3
    """Share of the steps that take the selectors' own decisions."""
    own_from: float = 0.25
    """Epochs before the first of them: margins that have learned no ranking yet are alike, so a selector keeps all or
    nothing, and the model learns from empty photos."""
    rank_by: RankBy = "attention"
    """What a selector learns its ranking from: where the dense model's class token will look, its saliency, or that of
    another teacher, a CNN."""
    at_random: bool = False
    """Drop at random instead, in every step: the backbone learns what a rival's would, the selectors how to
    weigh what is in a package and no ranking."""
    packages: bool = True
    """False: what is dropped is gone, and nothing takes its place; for a rival whose backbone alone is of use."""


class DenseTeacher(nn.Module):
    """A ViT without selectors, dense or compact, that also tells where its class token looks."""

    def __init__(self, model: VisionTransformer, blocks: tuple[int, ...]) -> None:
        """Args: `model` is used as it is; a selector stands before each of `blocks`.

        Raises:
            InputError: If a selector has no attention behind it to learn from.
        """
        super().__init__()
        self.model = model
        self.behind = [_attentions_behind(model, at) for at in blocks]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), normalised patch tokens (B, N, D), and per selector the attention to come, (B, N).

        The attention of the class token on each patch, mean over heads and over all blocks behind the selector's that
        still are attentions.
        """
        prefix, look = self.model.num_prefix_tokens, flat_family(self.model).attended
        x, attention = deit.embed(self.model, images), {}
        for index, block in enumerate(deit.blocks_of(self.model)):
            if mixer_of(block) == "msa":
                attention[index] = look(block, x)[:, prefix:]
            x = block(x)
        x = self.model.norm(x)
        behind = [torch.stack([attention[index] for index in some]).mean(dim=0) for some in self.behind]
        return self.model.forward_head(x), x[:, prefix:], behind


def _attentions_behind(model: VisionTransformer, at: int) -> list[int]:
    """The blocks whose class attention a selector before block `at` learns from; that block's own if it is the last.

    Raises:
        InputError: If none of them is an attention any more.
    """
    having = [i for i, block in enumerate(deit.blocks_of(model)) if mixer_of(block) == "msa"]
    found = [i for i in having if i > at] or [i for i in having if i == at]
    if not found:
        raise InputError(
            f"No block from {at} on is an attention any more, so a selector before it has nothing to learn its ranking "
            f"from; put the last of --selectors at {having[-1]} or before."
            if having
            else "No block of this model is an attention any more, so selectors have nothing to learn from."
        )
    return found


def _ranks(
    rank_by: RankBy, dense: Backbone, blocks: tuple[int, ...], other: Objective | None
) -> StagedTeacher | DenseTeacher | SaliencyTeacher | TeacherSaliency:
    """What teaches the ranking.

    Raises:
        InputError: If what is asked for has none to teach.
    """
    if layout_of(dense) != "flat":
        if rank_by != "attention":
            raise InputError("In a PiT or a Swin selectors learn their ranking from attention alone; omit --rank-by.")
        return StagedTeacher(dense, blocks)
    if rank_by == "teacher":
        teacher = other.teacher.module if other is not None and other.teacher is not None else None
        if not isinstance(teacher, Teacher):
            raise InputError("--rank-by teacher needs a --teacher, which selectors learn their ranking from.")
        return TeacherSaliency(dense, blocks, teacher)
    return (DenseTeacher if rank_by == "attention" else SaliencyTeacher)(dense, blocks)


class TokenStep(nn.Module):
    """One training step of a model with selectors, distilled from the dense model it came from."""

    def __init__(
        self, model: SoftTokenViT, teacher: Backbone, settings: TokenSettings, other: Objective | None = None
    ) -> None:
        """Set who learns from whom.

        Args:
            model: Learns.
            teacher: The dense model, frozen: its tokens, its attention, and its answer where there is no `other`.
            settings: What is trained for.
            other: Task and distillation from another teacher.

        Raises:
            InputError: If the teacher has nothing to learn a ranking from.
        """
        super().__init__()
        self.model = model
        self.teacher = Frozen(_ranks(settings.rank_by, teacher, model.blocks, other))
        self.settings = settings
        self.other = other

    def forward(self, images: Tensor, targets: Tensor, epoch: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, scalar, and what to log, for images (B, 3, H, W) and labels (B,); `epoch` is how far training is."""
        cfg, model = self.settings, self.model
        reference, reference_tokens, ranking = self.teacher(images)
        own = not cfg.at_random and epoch >= cfg.own_from and bool(torch.rand(()) < cfg.own_share)
        share = random_share if cfg.at_random else top_share
        decide = own_decision if own else share(random_schedule(cfg.targets), model.patches)
        logits, tokens, stages = masked_forward(
            model.backbone,
            model.by_block(),
            images,
            lambda stage, scores, alive: decide(stage, scores, alive > 0).float(),
            model.packaging if cfg.packages else None,
        )
        if self.other is None:
            loss = task_loss(logits, targets) + cfg.distill_weight * distillation(logits, reference)
        else:
            loss = self.other(logits, targets, images)
        loss = loss + cfg.token_weight * token_distillation(tokens, reference_tokens, alive_at_end(stages, tokens))
        if cfg.at_random:
            return loss, {}
        rank = rank_loss(stages, ranking, cfg.targets)
        loss = loss + cfg.rank_weight * rank
        if own:
            margins = [stage.margin for stage in stages]
            kept = [straight_through(m, 0.0, 1.0, stage.kept) for m, stage in zip(margins, stages, strict=True)]
            loss = loss + cfg.ratio_weight * ratio_loss(kept, list(cfg.targets))
        return loss, {"rank_loss": float(rank.detach())}


def alive_at_end(stages: list[Stage], tokens: Tensor) -> Tensor:
    """bool (B, N): which of the last patch tokens (B, N, D) are still alive; all where no selector saw their grid."""
    kept = stages[-1].kept
    return kept if kept.shape == tokens.shape[:2] else torch.ones_like(tokens[..., 0], dtype=torch.bool)


def rank_loss(stages: list[Stage], ranking: list[Tensor], targets: tuple[float, ...]) -> Tensor:
    """Binary cross entropy of each selector's margins against the dense model's ranking, mean over selectors.

    The patches to keep are the `targets` share of each photo that rank highest, so patches are compared within
    one photo, and a keep probability is the chance of being among them.

    Args:
        stages: Of a masked run, with scores.
        ranking: Per selector (B, N), such as the attention to come.
        targets: Per selector, share of the original patches.
    """
    terms = []
    alive = torch.ones_like(stages[0].kept)
    for stage, value, share in zip(stages, ranking, targets, strict=True):
        if alive.shape != value.shape:  # a pooling has made another grid, on which all are alive again
            alive = torch.ones_like(stage.kept)
        count = keep_count(share, value.shape[1])
        wanted = torch.zeros_like(value).scatter(1, value.topk(count, dim=1).indices, 1.0)
        weight = alive / alive.sum().clamp(min=1)  # nothing alive in the whole batch: nothing to learn from
        terms.append(functional.binary_cross_entropy_with_logits(stage.margin, wanted, weight, reduction="sum"))
        alive = stage.kept
    return torch.stack(terms).mean()


def random_schedule(targets: tuple[float, ...]) -> list[float]:
    """A keep schedule drawn around the targets: each to one power from 0.25 (little dropped) to 1.6, never rising."""
    power = float(torch.empty(()).uniform_(0.25, 1.6))
    return [target**power for target in targets]


@torch.inference_mode()
def calibrate(model: SoftTokenViT, loader: DataLoader, targets: tuple[float, ...]) -> None:
    """Shift each selector's threshold, in place, so that over `loader` its decisions keep the target share.

    Args:
        model: In evaluation mode.
        loader: Held-out photos of the training split, images and labels.
        targets: Share of the original patches alive after each selector.
    """
    for stage, block in enumerate(model.blocks):
        margins: list[Tensor] = []

        def collect(index: int, scores: Scores, alive: Tensor, stage: int = stage, margins: list = margins) -> Tensor:
            if index == stage:
                margins.append(torch.where(alive, scores.margin, -torch.inf).cpu())
            return own_decision(index, scores, alive)

        images = sum(len(model.run(batch.to(next(model.parameters()).device), collect)[0]) for batch, _ in loader)
        pooled = torch.cat([m.flatten() for m in margins]).sort(descending=True).values
        wanted = min(max(1, round(targets[stage] * model.patches[stage] * images)), int(pooled.isfinite().sum()))
        selector = model.by_block()[block]
        assert isinstance(selector, Selector)  # a ranking has no threshold to shift
        shift_margin(selector, -float(pooled[wanted - 1]) + 1e-6)


def token_groups(model: SoftTokenViT, *, lr: float, backbone_lr: float, weight_decay: float, wait: float) -> list[dict]:
    """Parameter groups: selectors at `lr`, the backbone at `backbone_lr` once `wait` epochs have passed.

    Biases, norms, positions and prefix tokens do not decay.
    At a `backbone_lr` of 0 the backbone is frozen: its weights take no gradients, and are in no group.
    """
    groups = param_groups_weight_decay(model.selectors, weight_decay)
    if backbone_lr == 0:
        model.backbone.requires_grad_(False)
        return [{**group, "lr": lr} for group in groups]
    skip = model.backbone.no_weight_decay()
    backbone = param_groups_weight_decay(model.backbone, weight_decay, no_weight_decay_list=skip)
    return [
        *({**group, "lr": lr} for group in groups),
        *({**group, "lr": backbone_lr, "wait_epochs": wait} for group in by_size(model.backbone, backbone)),
    ]
