"""A model small enough to test everything on, and a folder of drawn photos to train it on."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from core.config import Normalisation
from core.costs.deit import DeitGeometry
from core.families import deit
from core.models.cards import ModelCard
from core.results import ClassName
from core.single_path.model import SinglePathViT
from core.soft_tokens.model import SoftTokenViT

TINY = DeitGeometry(img_size=32, patch=8, width=32, depth=4, heads=2, ffn_hidden=64, classes=3, stem=(8, 16, 32))
CLASSES = (ClassName(None, "red"), ClassName(None, "green"), ClassName(None, "blue"))
CARD = ModelCard(deit.FAMILY, TINY, CLASSES, Normalisation())


def backbone(seed: int = 0) -> VisionTransformer:
    """A dense ViT with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return deit.build(TINY).eval()


def token_model(blocks: tuple[int, ...] = (1, 2, 3), seed: int = 0) -> SoftTokenViT:
    """Selectors with weights wild enough that decisions differ from patch to patch and from image to image."""
    model = SoftTokenViT(backbone(seed), blocks).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def single_path_model(seed: int = 0) -> SinglePathViT:
    """Gates, head mixing and batch norms that are all different from their start."""
    model = SinglePathViT(backbone(seed)).eval()
    with torch.no_grad():
        for path in model.paths:
            path.mixer_logits.copy_(torch.randn(3) * 2)
            path.ffn_logits.copy_(torch.randn_like(path.ffn_logits))
            path.head_logits.copy_(torch.randn_like(path.head_logits) * 0.01)
            for norm in (path.bn_3x3, path.bn_1x1):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
                norm.weight.normal_()
                norm.bias.normal_()
    return model


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Normalised noise, (count, 3, 32, 32)."""
    return torch.randn(count, 3, TINY.img_size, TINY.img_size, generator=torch.Generator().manual_seed(seed))


def draw_folder(root: Path, per_class: int = 20) -> Path:
    """An ImageFolder of noisy red, green and blue pictures: train/ and val/, `per_class` photos each."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(per_class):
                pixels = rng.integers(0, 120, (32, 32, 3))
                pixels[..., channel] += 110
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03}.png")
    return root
