"""Token pruning as a fixed graph: the counts of a keep ratio are known beforehand, so every image does the same work.

What engines other than torch's eager mode need. For the same ratios it says what `core.soft_tokens.model` says.
"""

from collections.abc import Sequence
from dataclasses import fields

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor, nn

from core.backbones import deit, lvvit
from core.backbones.lvvit import LVViT
from core.config import Packaging
from core.errors import InputError
from core.soft_tokens.context import Equal
from core.soft_tokens.decide import check_keep, keep_count
from core.soft_tokens.mixers import left_block
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.package import package_weights
from core.soft_tokens.selector import Folded, selector_scores


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
        self.heads, self.count, self.packaging = folded.heads, count, packaging
        self.importance = folded.importance
        for name, value in vars(folded).items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value.clone(memory_format=torch.contiguous_format))

    def forward(self, x: Tensor, prefix: int, patches: int) -> Tensor:
        """Tokens (B, T, D), `prefix` first, then `patches`, then packages; to tokens (B, T - patches + k + 1, D).

        The kept patches come in the order of their scores, which no later layer looks at.
        """
        batch, tokens, _ = x.shape
        end = prefix + patches
        weights = Folded(**{field.name: getattr(self, field.name) for field in fields(Folded)})
        flat = selector_scores(weights, x.flatten(0, 1), Equal(tokens, prefix))
        scores = flat.map(lambda score: score.unflatten(0, (batch, tokens))[:, prefix:end])
        best = scores.keep_logit.topk(self.count, dim=1, sorted=False).indices  # (B, k)
        dropped = torch.ones_like(scores.keep_prob).scatter(1, best, 0.0)
        weight, _ = package_weights(scores.keep_prob, dropped, self.packaging)  # (B, patches)
        package = weight[:, None] @ x[:, prefix:end]  # (B, 1, D)
        row = torch.arange(batch, device=x.device)[:, None] * tokens  # whole rows are picked faster than elements
        kept = x.flatten(0, 1).index_select(0, (best + prefix + row).flatten()).unflatten(0, (batch, self.count))
        return torch.cat((x[:, :prefix], kept, x[:, end:], package), dim=1)


class FixedKeepViT(nn.Module):
    """A ViT with selectors at fixed keep ratios; images (B, 3, H, W) to logits (B, C), the same work for each."""

    def __init__(self, model: SoftTokenViT, keep: Sequence[float]) -> None:
        """Share the backbone of `model`, in evaluation mode, and copy its selectors.

        Args:
            model: Decides by itself, or not; that is left aside.
            keep: Per selector, the share of the original patches alive after it, never rising.

        Raises:
            InputError: If the ratios are none, or do not fit the selectors.
        """
        super().__init__()
        patches = model.backbone.patch_embed.num_patches
        counts = [keep_count(share, patches) for share in check_keep(keep, len(model.blocks))]
        self.backbone, self.packaging = model.backbone, model.packaging
        self.counts = dict(zip(model.blocks, counts, strict=True))
        self.alive = dict(zip(model.blocks, (patches, *counts), strict=False))
        self.selectors = nn.ModuleDict(
            {
                str(block): FixedSelector(selector.fold(), self.counts[block], model.packaging)
                for block, selector in model.by_block().items()
                # As a mean, a selector that drops nothing leaves no trace.
                if self.counts[block] < self.alive[block] or model.packaging == "weighted_sum"
            }
        )
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C)."""
        x, prefix = deit.embed(self.backbone, images), self.backbone.num_prefix_tokens
        alive, first = x.shape[1] - prefix, min(self.counts)
        for index, block in enumerate(self.backbone.blocks):
            if str(index) in self.selectors:
                x = self.selectors[str(index)](x, prefix, alive)
                alive = self.counts[index]
            x = block(x) if index < first else left_block(block, x, slice(prefix, prefix + alive))
        if isinstance(self.backbone, LVViT):
            patches = x[:, prefix : prefix + alive].flatten(0, 1)
            return lvvit.classify(self.backbone, x[:, :prefix], patches, (alive,) * len(x))
        return deit.classify(self.backbone, x)


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
            is a PiT with selectors.
    """
    if not isinstance(model, SoftTokenViT):
        return model
    if isinstance(model.backbone, PoolingVisionTransformer):
        raise InputError(f"{name} pools its patches, which is no fixed graph here; use torch's eager mode.")
    if keep is None:
        raise InputError(
            f"{name} decides photo by photo how many patches it keeps, which only torch's eager mode can do; give "
            f"--keep with {len(model.blocks)} shares."
        )
    return FixedKeepViT(model, keep)
