"""Token pruning as a fixed graph: the counts of a keep ratio are known beforehand, so every image does the same work.

What engines other than torch's eager mode need. For the same ratios it says what `core.soft_tokens.model` says.
"""

import copy
from collections.abc import Sequence
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor, nn

from core.config import Packaging
from core.errors import InputError
from core.families.base import Alive, Backbone
from core.families.families import flat_family, layout_of
from core.families.matrix import matrix_block
from core.soft_tokens.context import Equal
from core.soft_tokens.decide import check_keep, keep_count
from core.soft_tokens.mixers import left_block, mixer_of, nearest_attention
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.package import package_weights
from core.soft_tokens.ranking import AttentionRanking, look, ranked_scores
from core.soft_tokens.selector import Folded, Scores, selector_scores

AHEAD = 1e6
"""The score of the last prefix token, and as much more for each before it: they are kept, and come first."""


class FixedSelector(nn.Module):
    """A selector that keeps k patches of every image and folds the others into one package."""

    def __init__(self, folded: Folded, count: int, packaging: Packaging) -> None:
        """Take over a selector's weights.

        Args:
            folded: The weights.
            count: k.
            packaging: See `core.soft_tokens.package`.
        """
        super().__init__()
        self.heads, self.count = folded.heads, count
        self.packaging: Packaging = packaging
        self.importance = folded.importance
        for name, value in vars(folded).items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value.clone(memory_format=torch.contiguous_format))

    def forward(self, x: Tensor, prefix: int, patches: int) -> Tensor:
        """Tokens (B, T, D), `prefix` first, then `patches`, then packages; to tokens (B, T - patches + k + 1, D).

        The kept patches come in the order of their scores, which no later layer looks at.
        """
        weights = Folded(**{field.name: getattr(self, field.name) for field in fields(Folded)})
        flat = selector_scores(weights, x.flatten(0, 1), Equal(x.shape[1], prefix))
        scores = flat.map(lambda score: score.unflatten(0, x.shape[:2]))
        return keep_best(x, scores, prefix, patches, self.count, self.packaging)


class FixedRanking(nn.Module):
    """The same by attention."""

    def __init__(self, backbone: Backbone, at: int, count: int, packaging: Packaging) -> None:
        """Args: it stands before block `at` of `backbone`; `count` and `packaging` as in `FixedSelector`."""
        super().__init__()
        self.block, self.count = nearest_attention(backbone, at), count
        self.attended = flat_family(backbone).attended
        self.packaging: Packaging = packaging

    def forward(self, x: Tensor, prefix: int, patches: int) -> Tensor:
        """As `FixedSelector.forward`."""
        looking = None if self.block is None else partial(self.attended, self.block)
        return keep_best(x, ranked_scores(look(looking, x)), prefix, patches, self.count, self.packaging)


def keep_best(x: Tensor, scores: Scores, prefix: int, patches: int, count: int, packaging: Packaging) -> Tensor:
    """Tokens (B, T, D) to (B, T - patches + count + 1, D): the best patches stay, the others become one package.

    Args:
        x: `prefix` tokens first, then `patches`, then packages.
        scores: Of all tokens, (B, T).
        prefix: How many come first.
        patches: How many patches follow.
        count: How many of these stay.
        packaging: See `core.soft_tokens.package`.
    """
    batch, tokens, _ = x.shape
    end, count = prefix + patches, prefix + count
    place = torch.arange(end, device=x.device)
    # Chosen, not added: OpenVINO 2026.4 adds a vector behind a sum to the wrong axis.
    score = torch.where(place < prefix, AHEAD * (prefix - place), scores.keep_logit[:, :end])
    best = score.topk(count, dim=1).indices  # (B, prefix + k)
    dropped = torch.ones_like(scores.keep_prob[:, :end]).scatter(1, best, 0.0)
    weight, _ = package_weights(scores.keep_prob[:, :end], dropped, packaging)  # 0 for prefix tokens
    package = weight[:, None] @ x[:, :end]  # (B, 1, D)
    row = torch.arange(batch, device=x.device)[:, None] * tokens  # whole rows are picked faster than elements
    kept = x.flatten(0, 1).index_select(0, (best + row).flatten()).unflatten(0, (batch, count))
    return torch.cat((kept, x[:, end:], package), dim=1)


class FixedKeepViT(nn.Module):
    """A ViT with selectors at fixed keep ratios or none; images (B, 3, H, W) to logits (B, C), equal work for each."""

    alone = False
    """Whether every batch is one image, whose tokens are then one matrix between the blocks."""

    def __init__(self, model: nn.Module, keep: Sequence[float] = ()) -> None:
        """Share the backbone of `model`, which it freezes and puts into evaluation mode, and copy its selectors.

        Args:
            model: A flat one, with selectors or without; how it decides is left aside.
            keep: Per selector, the share of the original patches alive after it, never rising.

        Raises:
            InputError: If the ratios are none, or do not fit the selectors.
        """
        super().__init__()
        self.backbone: Backbone = model.backbone if isinstance(model, SoftTokenViT) else model
        family = flat_family(self.backbone)
        self.embed, self.classify = family.embed, family.classify  # what is drawn as a graph looks nothing up
        self.counts: dict[int, int] = {}
        self.alive: dict[int, int] = {}
        self.selectors = nn.ModuleDict()
        if isinstance(model, SoftTokenViT):
            self._take_selectors(model, keep)
        self.eval().requires_grad_(False)

    def _take_selectors(self, model: SoftTokenViT, keep: Sequence[float]) -> None:
        patches = model.patches[0]
        counts = [keep_count(share, patches) for share in check_keep(keep, len(model.blocks))]
        self.counts = dict(zip(model.blocks, counts, strict=True))
        self.alive = dict(zip(model.blocks, (patches, *counts), strict=False))
        for block, selector in model.by_block().items():
            # As a mean, a selector that drops nothing leaves no trace.
            if self.counts[block] < self.alive[block] or model.packaging == "weighted_sum":
                self.selectors[str(block)] = (
                    FixedRanking(model.backbone, block, self.counts[block], model.packaging)
                    if isinstance(selector, AttentionRanking)
                    else FixedSelector(selector.fold(), self.counts[block], model.packaging)
                )

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C)."""
        x, prefix = self.embed(self.backbone, images), self.backbone.num_prefix_tokens
        alive, first = x.shape[1] - prefix, min(self.counts, default=len(self.backbone.blocks))
        x = x.flatten(0, 1) if self.alone else x
        for index, block in enumerate(self.backbone.blocks):
            if str(index) in self.selectors:
                left = self.selectors[str(index)](x[None] if self.alone else x, prefix, alive)
                x = left.flatten(0, 1) if self.alone else left
                alive = self.counts[index]
            if index >= first and mixer_of(block) != "msa":
                x = left_block(block, x, slice(prefix, prefix + alive))
            else:
                x = matrix_block(block, x) if self.alone else block(x)
        x = x[None] if self.alone else x
        return self.classify(self.backbone, x, lambda: self._left(x, prefix, alive))

    def _left(self, x: Tensor, prefix: int, alive: int) -> Alive:
        """What is left of tokens (B, T, D): prefix tokens, `alive` patches, packages."""
        gone = [self.alive[int(block)] - self.counts[int(block)] for block in self.selectors]
        stands = torch.tensor(gone, device=x.device).expand(len(x), -1)
        end = prefix + alive
        return Alive(x[:, prefix:end].flatten(0, 1), (alive,) * len(x), x[:, end:], stands)


class SelectorsAlone(nn.Module):
    """What the selectors of a model at fixed keep ratios do, without the blocks between them, for timing."""

    def __init__(self, model: FixedKeepViT) -> None:
        """Share the selectors of `model`."""
        super().__init__()
        self.selectors = model.selectors
        self.prefix = model.backbone.num_prefix_tokens
        self.alive = [model.alive[int(block)] for block in model.selectors]

    def inputs(self, batch: int, width: int, device: torch.device) -> tuple[Tensor, ...]:
        """Tokens of no meaning for each selector, packages of those before it included."""
        tokens = [self.prefix + alive + stage for stage, alive in enumerate(self.alive)]
        return tuple(torch.randn(batch, count, width, device=device) for count in tokens)

    def forward(self, *tokens: Tensor) -> Tensor:
        """Tokens before each selector, (B, T, D) each, to what is left behind all of them, (B, T, D)."""
        stages = zip(self.selectors.values(), tokens, self.alive, strict=True)
        return torch.cat([selector(x, self.prefix, alive) for selector, x, alive in stages], dim=1)


def graph_of(model: nn.Module, keep: Sequence[float] | None, name: str) -> nn.Module:
    """The model as a graph of fixed shapes, (B, 3, H, W) to (B, C): itself, or with selectors at these keep ratios.

    Args:
        model: In evaluation mode; shared, not copied.
        keep: Per selector; None for a model without.
        name: For the sentence.

    Raises:
        InputError: If the model has selectors and no keep ratios, so that each photo is another amount of work, or it
            is a PiT or a Swin with selectors.
    """
    if not isinstance(model, SoftTokenViT):
        return model
    if layout_of(model.backbone) == "pooled":
        raise InputError(f"{name} pools its patches, which is no fixed graph here; use torch's eager mode.")
    if layout_of(model.backbone) == "windows":
        raise InputError(
            f"Each photo leaves another number of patches in each window of {name}, even at a keep ratio, so it is no "
            "fixed graph; use torch's eager mode."
        )
    if keep is None:
        raise InputError(
            f"{name} decides photo by photo how many patches it keeps, which only torch's eager mode can do; give "
            f"--keep with {len(model.blocks)} shares."
        )
    return FixedKeepViT(model, keep)


def for_one_image(model: nn.Module) -> nn.Module:
    """The same for batches of one image, (1, 3, H, W) to (1, C): a ViT with fewer steps, any other model as it is.

    Shared, not copied; a ViT is frozen and put into evaluation mode.
    """
    if not isinstance(model, FixedKeepViT) and layout_of(model) != "flat":
        return model
    made = copy.copy(model) if isinstance(model, FixedKeepViT) else FixedKeepViT(model)
    made.alone = True
    return made
