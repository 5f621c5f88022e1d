"""A ViT with token selectors in it: timm's backbone, one selector per stage, and a way to decide."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from core.config import Packaging
from core.errors import InputError
from core.families.base import Backbone
from core.soft_tokens.decide import Decide, own_decision
from core.soft_tokens.gathered import gathered_forward
from core.soft_tokens.places import check_places, layers_of, patches_of, shape_of
from core.soft_tokens.ranking import AttentionRanking, Choosing
from core.soft_tokens.selector import LEAST_HEAD, Selector
from core.soft_tokens.stages import Stage


class SoftTokenViT(nn.Module):
    """Backbone and selectors; `forward` removes tokens and returns logits (B, C)."""

    def __init__(
        self,
        backbone: Backbone,
        blocks: Sequence[int],
        *,
        decide: Decide = own_decision,
        packaging: Packaging = "weighted_mean",
        heads: int | Sequence[int] | None = None,
        ranked: bool = False,
    ) -> None:
        """Put fresh selectors, or rankings, into a backbone.

        Args:
            backbone: The ViT, dense or compact (see `core.soft_tokens.mixers`); shared, not copied.
            blocks: A selector stands before each of these, rising, none before a 3x3 convolution.
            decide: How scores become decisions at inference.
            packaging: See `core.soft_tokens.package`.
            heads: H of a selector before a block that is no attention any more; None: of the first block, which is an
                attention then.
            ranked: Rank by class attention, which needs no training, in place of selectors.

        Raises:
            InputError: If no selector can stand before one of the blocks, they do not rise, or the heads are too
                narrow.
        """
        super().__init__()
        self.layers = layers_of(backbone)
        check_places(backbone, blocks)
        self.backbone: Backbone = backbone
        self.decide = decide
        self.packaging: Packaging = packaging
        self.folded: dict[int, Choosing] | None = None
        if ranked:
            self.layers = replace(self.layers, ranked=True)
            self.selectors = nn.ModuleDict({str(block): AttentionRanking() for block in blocks})
            return
        shapes = {block: shape_of(backbone, block, heads) for block in blocks}
        if any(width // count < LEAST_HEAD for width, count in shapes.values()):
            raise InputError(f"Selectors need heads of {LEAST_HEAD} channels or more; this model's are narrower.")
        self.selectors = nn.ModuleDict({str(block): Selector(*shape) for block, shape in shapes.items()})

    @property
    def blocks(self) -> tuple[int, ...]:
        """Block before which each selector stands."""
        return tuple(int(key) for key in self.selectors)

    @property
    def patches(self) -> tuple[int, ...]:
        """N of the grid that each selector sees."""
        return patches_of(self.backbone, self.blocks)

    def by_block(self) -> dict[int, Selector | AttentionRanking]:
        """Selectors by block number."""
        return {int(key): cast(Selector | AttentionRanking, selector) for key, selector in self.selectors.items()}

    def fold(self) -> "SoftTokenViT":
        """Work out once what inference needs of the selectors' weights; they are not to change any more."""
        self.folded = {block: selector.fold() for block, selector in self.by_block().items()}
        return self

    def _apply(self, fn: Callable, recurse: bool = True) -> "SoftTokenViT":
        """What `to` and its like call: what is folded goes along."""
        moved = super()._apply(fn, recurse)
        return moved if self.folded is None else moved.fold()

    def run(self, images: Tensor, decide: Decide | None = None, *, record: bool = True) -> tuple[Tensor, list[Stage]]:
        """Logits (B, C) and what every stage did, for images (B, 3, H, W).

        Args:
            images: Normalised.
            decide: In place of the model's own way of deciding.
            record: False: the logits alone, a little sooner.
        """
        selectors = self.folded or {block: selector.fold() for block, selector in self.by_block().items()}
        return gathered_forward(self.backbone, selectors, images, decide or self.decide, self.packaging, record=record)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C)."""
        return self.run(images, record=False)[0]
