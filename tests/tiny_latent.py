"""A tiny ViT that answers from an attention pooling, with two register tokens."""

import torch

from core.config import Normalisation
from core.costs.latent import LatentGeometry
from core.families import latent
from core.models.cards import ModelCard
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CLASSES

TINY_LATENT = LatentGeometry(
    img_size=32, patch=8, width=32, depth=4, heads=2, ffn_hidden=64, classes=3, prefix_tokens=2
)
CARD = ModelCard(latent.FAMILY, TINY_LATENT, CLASSES, Normalisation())


def latent_backbone(seed: int = 0, *, geometry: LatentGeometry = TINY_LATENT) -> latent.LatentViT:
    """Random weights, in evaluation mode; attention tells patches apart, and so do norms, pooling and classifier."""
    torch.manual_seed(seed)
    model = latent.build(geometry).eval()
    model.attn_pool.latent.requires_grad_(False)  # torch's counter of FLOPs cannot follow it without gradients
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
            if name in ("reg_token", "attn_pool.latent"):
                parameter.normal_()
    return model


def latent_token_model(blocks: tuple[int, ...] = (1, 2, 3), *, ranked: bool = False) -> SoftTokenViT:
    """With rankings, or with selectors wild enough that decisions differ from image to image."""
    model = SoftTokenViT(latent_backbone(), blocks, ranked=ranked).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model
