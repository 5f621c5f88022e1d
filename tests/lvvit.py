"""A small LV-ViT in the layout of its release, and its forward by torch's functions alone, with no code of ours."""

import torch
from torch import Tensor
from torch.nn import functional

from core.costs.lvvit import LvvitGeometry
from core.families import lvvit
from core.soft_tokens.model import SoftTokenViT
from core.training.tokens import calibrate

TINY = LvvitGeometry(32, 8, 128, 4, 2, 192, 5, stem_channels=6)
"""16 patches; heads of 64 channels, as a file without a word of them is read."""


def random_state(geometry: LvvitGeometry = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Random weights and running statistics, wild enough that every part of the model matters."""
    torch.manual_seed(seed)
    state = lvvit.build(geometry).state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            fan = value[0].numel() if value.ndim > 1 and key not in ("cls_token", "pos_embed") else 10
            state[key] = torch.randn_like(value) / fan**0.5
        if key.endswith(("running_var", "norm.weight")) or (".bn" in key and key.endswith("weight")):
            state[key] = torch.rand_like(value) + 0.5
        if "norm" in key and key.endswith("weight"):
            state[key] = torch.rand_like(value) + 0.5
    return state


def dense(geometry: LvvitGeometry = TINY, seed: int = 0) -> lvvit.LVViT:
    """A model with these weights, in evaluation mode."""
    model = lvvit.build(geometry)
    model.load_state_dict(random_state(geometry, seed))
    return model.eval()


def token_model(blocks: tuple[int, ...] = (1, 2, 3), geometry: LvvitGeometry = TINY) -> SoftTokenViT:
    """Selectors with wild weights, and thresholds that make decisions differ from patch to patch and image to image."""
    model = SoftTokenViT(dense(geometry), blocks).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    calibrate(model, [(images(8, geometry, seed=2), None)], (0.7, 0.5, 0.3)[: len(blocks)])
    return model


def images(count: int, geometry: LvvitGeometry = TINY, seed: int = 1) -> Tensor:
    """Normalised noise, (count, 3, H, W)."""
    size = geometry.img_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def literal(w: dict[str, Tensor], photos: Tensor, heads: int, residual: float) -> Tensor:
    """Logits (B, C) of the release's weights `w`."""
    x = photos
    for n, stride in ((1, 2), (2, 1), (3, 1)):
        kernel = w[f"patch_embed.conv{n}.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        norm = (w[f"patch_embed.bn{n}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = functional.relu(functional.batch_norm(x, *norm))
    kernel = w["patch_embed.proj.weight"]
    x = functional.conv2d(x, kernel, w["patch_embed.proj.bias"], stride=kernel.shape[-1]).flatten(2).mT  # (B, N, D)
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x), dim=1) + w["pos_embed"]

    def normed(tokens: Tensor, name: str) -> Tensor:
        return functional.layer_norm(tokens, tokens.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    def linear(tokens: Tensor, name: str) -> Tensor:
        return functional.linear(tokens, w[f"{name}.weight"], w.get(f"{name}.bias"))

    depth = 1 + max(int(key.split(".")[1]) for key in w if key.startswith("blocks."))
    for name in (f"blocks.{at}" for at in range(depth)):
        q, k, v = linear(normed(x, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, dim=-1)
        mixed = torch.zeros_like(x)
        for h in range(heads):
            own = slice(h * x.shape[-1] // heads, (h + 1) * x.shape[-1] // heads)
            share = (q[..., own] @ k[..., own].mT / (x.shape[-1] // heads) ** 0.5).softmax(dim=-1)
            mixed[..., own] = share @ v[..., own]
        x = x + linear(mixed, f"{name}.attn.proj") / residual
        hidden = functional.gelu(linear(normed(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        x = x + linear(hidden, f"{name}.mlp.fc2") / residual
    x = normed(x, "norm")
    logits = linear(x[:, 0], "head")
    return logits + 0.5 * linear(x[:, 1:], "aux_head").max(dim=1).values if "aux_head.weight" in w else logits
