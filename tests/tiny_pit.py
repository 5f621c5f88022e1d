"""A PiT small enough to test everything on: three stages on grids of 7 x 7, 4 x 4 and 2 x 2."""

import torch
from timm.models.pit import PoolingVisionTransformer

from core.config import Normalisation
from core.costs.pit import PitGeometry
from core.families import pit
from core.models.cards import ModelCard
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CLASSES

TINY_PIT = PitGeometry(32, 8, 4, widths=(16, 32, 64), depths=(2, 4, 2), heads=(2, 2, 4), ffn_ratio=2, classes=3)
PIT_CARD = ModelCard(pit.FAMILY, TINY_PIT, CLASSES, Normalisation())
BLOCKS = (1, 3, 5, 7)
"""One selector on the first grid, two on the second, one on the last."""


def pit_backbone(seed: int = 0) -> PoolingVisionTransformer:
    """A dense PiT of timm's with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    model = PoolingVisionTransformer(
        img_size=32, patch_size=8, stride=4, base_dims=(8, 16, 16), depth=(2, 4, 2), heads=(2, 2, 4), mlp_ratio=2,
        num_classes=3,
    )  # fmt: skip
    return model.eval()


def pit_token_model(blocks: tuple[int, ...] = BLOCKS, seed: int = 0) -> SoftTokenViT:
    """Selectors with weights wild enough that decisions differ from patch to patch and from image to image."""
    model = SoftTokenViT(pit_backbone(seed), blocks).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model
