"""The compact form: plain layers, only what remains, batch norm folded, no gates left."""

import copy

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from core.results import Architecture, Mixer
from core.single_path import mixer as mix
from core.single_path.model import Gating, Path, SinglePathViT


class ConvMixer(nn.Module):
    """A convolution into a bottleneck, ReLU, and a 1x1 convolution out; the prefix tokens get nothing."""

    def __init__(self, reduce: nn.Conv2d, expand: nn.Conv2d, grid: tuple[int, int]) -> None:
        """Take the two convolutions and the patch grid."""
        super().__init__()
        self.reduce = reduce
        self.expand = expand
        self.grid = grid

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Tokens (B, T, D) in and out; the arguments after `x` are there to stand in for timm's attention."""
        prefix = x.shape[1] - self.grid[0] * self.grid[1]
        maps = mix.to_map(x[:, prefix:], self.grid)
        return mix.to_tokens(self.expand(functional.relu(self.reduce(maps))), prefix)


class NoMixer(nn.Module):
    """Adds nothing."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Zeros like `x`."""
        return torch.zeros_like(x)


@torch.no_grad()
def compact(model: SinglePathViT, architecture: Architecture) -> VisionTransformer:
    """A plain timm ViT with this architecture, in evaluation mode; `model` stays as it is.

    Args:
        model: The search form with its weights.
        architecture: What to keep; needs `ffn_kept`.

    Raises:
        ValueError: If the architecture does not say which hidden units are kept.
    """
    if architecture.ffn_kept is None:
        raise ValueError("this architecture gives the number of hidden units, not which")
    plain = copy.deepcopy(model.backbone).eval()
    grid = plain.patch_embed.grid_size
    for block, path, kind, kept in zip(
        plain.blocks, model.paths, architecture.mixers, architecture.ffn_kept, strict=True
    ):
        if kind != "msa":
            block.attn = NoMixer() if kind == "skip" else conv_mixer(block, path, kind, model.alpha, grid)
        narrow_ffn(block, torch.from_numpy(kept))
    return plain


def conv_mixer(block: Block, path: Path, kind: Mixer, alpha: float, grid: tuple[int, int]) -> ConvMixer:
    """One block's convolution with its batch norm folded in: w' = w s, b' = (beta - mean) s + shift, s = scale / sd."""
    attn = block.attn
    kernels = mix.read_kernels(attn, mix.head_mixing(path.head_logits, alpha))
    _, d, dim = kernels.weight.shape
    if kind == "conv3x3":
        norm, side, padding = path.bn_3x3, 3, 1
        weight, bias = kernels.weight.permute(1, 2, 0).reshape(d, dim, 3, 3), kernels.bias.sum(dim=0)
        out = kernels.out.sum(dim=0)
    else:
        norm, side, padding = path.bn_1x1, 1, 0
        weight, bias, out = (
            kernels.weight[mix.CENTRE, :, :, None, None],
            kernels.bias[mix.CENTRE],
            kernels.out[mix.CENTRE],
        )
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    reduce = nn.Conv2d(dim, d, side, padding=padding, device=weight.device)
    reduce.weight.copy_(weight * scale[:, None, None, None])
    reduce.bias.copy_((bias - norm.running_mean) * scale + norm.bias)
    expand = nn.Conv2d(d, dim, 1, bias=attn.proj.bias is not None, device=weight.device)
    expand.weight.copy_(out[:, :, None, None])
    if attn.proj.bias is not None:
        expand.bias.copy_(attn.proj.bias)
    return ConvMixer(reduce, expand, grid).eval()


def narrow_ffn(block: Block, kept: Tensor) -> None:
    """Remove the hidden units that are not kept, bool (F,), in place."""
    fc1, fc2 = block.mlp.fc1, block.mlp.fc2
    kept = kept.to(fc1.weight.device)
    fc1.weight, fc1.bias = nn.Parameter(fc1.weight[kept]), nn.Parameter(fc1.bias[kept])
    fc2.weight = nn.Parameter(fc2.weight[:, kept])
    fc1.out_features = fc2.in_features = int(kept.sum())


def derived_gating(architecture: Architecture, device: torch.device) -> Gating:
    """Gates that make the search form compute this architecture: the derived form."""
    open_count = {"skip": 0, "conv1x1": 1, "conv3x3": 2, "msa": 3}
    return Gating(
        [(torch.arange(3, device=device) < open_count[m]).float() for m in architecture.mixers],
        [torch.from_numpy(k).to(device).float() for k in architecture.ffn_kept],
    )
