"""Swins small enough to test everything on: three stages; windows of 2 x 2, and of 3 x 3 for what removes tokens."""

import torch
from timm.models.swin_transformer import SwinTransformer

from core.config import Normalisation
from core.costs.swin import SwinGeometry
from core.families import swin
from core.models.cards import ModelCard
from core.single_path.model import SinglePathViT
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CLASSES

SWIN = SwinGeometry(16, (2, 2, 2), (2, 4, 16), img_size=32, patch=4, window=2, ffn_ratio=2, classes=3)
TOKEN_SWIN = SwinGeometry(16, (2, 4, 2), (2, 4, 4), img_size=48, patch=4, window=3, ffn_ratio=2, classes=3)
"""Grids of 12 x 12, 6 x 6 and 3 x 3, the last one a single window; no head too narrow for a selector."""
TOKEN_BLOCKS = (1, 3, 5, 7)
"""One selector on the first grid, two on the second, one on the last."""
TOKEN_SWIN_CARD = ModelCard(swin.FAMILY, TOKEN_SWIN, CLASSES, Normalisation())
SWIN_CARD = ModelCard(swin.FAMILY, SWIN, CLASSES, Normalisation())


def swin_path_model(seed: int = 0, geometry: SwinGeometry = SWIN, *, in_windows: bool = False) -> SinglePathViT:
    """Gates, head mixing, batch norms and relative positions that are all different from their start."""
    torch.manual_seed(seed)
    model = SinglePathViT(swin.build(geometry).eval(), 100.0, in_windows=in_windows).eval()
    with torch.no_grad():
        for block in swin.blocks_of(model.backbone):
            block.attn.relative_position_bias_table.normal_()
        for path in model.paths:
            path.mixer_logits.copy_(torch.randn(3) * 2)
            path.ffn_logits.copy_(torch.randn_like(path.ffn_logits))
            path.head_logits.copy_(torch.randn_like(path.head_logits) * 100)
            for norm in (path.bn_3x3, path.bn_1x1):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
                norm.weight.normal_()
                norm.bias.normal_()
    return model


def dense_swin(seed: int = 0) -> SwinTransformer:
    """Random weights, relative positions too, in evaluation mode."""
    torch.manual_seed(seed)
    model = swin.build(TOKEN_SWIN).eval()
    with torch.no_grad():
        for block in swin.blocks_of(model):
            block.attn.relative_position_bias_table.normal_()
            block.attn.qkv.weight.normal_(std=0.3)
    return model


def swin_token_model(blocks: tuple[int, ...] = TOKEN_BLOCKS, seed: int = 0, *, ranked: bool = False) -> SoftTokenViT:
    """Selectors with weights wild enough that decisions differ from patch to patch and from image to image."""
    model = SoftTokenViT(dense_swin(seed), blocks, ranked=ranked).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def images(count: int, seed: int = 0, size: int = 32) -> torch.Tensor:
    """Normalised noise, (count, 3, size, size)."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
