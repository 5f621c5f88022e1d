"""A tiny ViT that answers from the mean of its patches, with two register tokens."""

import torch

from core.config import Normalisation
from core.costs.gap import GapGeometry
from core.families import gap
from core.models.cards import ModelCard
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CLASSES

TINY_GAP = GapGeometry(img_size=32, patch=8, width=32, depth=4, heads=2, ffn_hidden=64, classes=3, prefix_tokens=2)
CARD = ModelCard(gap.FAMILY, TINY_GAP, CLASSES, Normalisation())


def gap_backbone(seed: int = 0, *, geometry: GapGeometry = TINY_GAP) -> gap.GapViT:
    """Random weights, in evaluation mode; attention tells patches apart, and so do norms and the classifier."""
    torch.manual_seed(seed)
    model = gap.build(geometry).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
            if name == "reg_token":
                parameter.normal_()
    return model


def gap_token_model(blocks: tuple[int, ...] = (1, 2, 3), *, ranked: bool = False) -> SoftTokenViT:
    """With rankings, or with selectors wild enough that decisions differ from image to image."""
    model = SoftTokenViT(gap_backbone(), blocks, ranked=ranked).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model
