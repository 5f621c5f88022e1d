"""The compact form: plain layers, only what remains, batch norm folded, no gates left."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.families.block import PreNorm
from core.families.families import blocks_of, family_of
from core.families.timm_models import statistics
from core.families.views import to_map, to_tokens
from core.results import BY_OPEN_GATES, Architecture, Mixer
from core.single_path import mixer as mix
from core.single_path.model import Gating, Path, SinglePathViT, shifted_bias

Model = TypeVar("Model", bound=nn.Module)


class ConvMixer(nn.Module):
    """A convolution into a bottleneck, ReLU, and a 1x1 convolution out, over the patches (of Swin: of a window)."""

    def __init__(self, reduce: nn.Conv2d, expand: nn.Conv2d, grid: tuple[int, int], *, passes: bool = False) -> None:
        """Take the two convolutions and their grid; `passes`: prefix tokens get their input back, not nothing."""
        super().__init__()
        self.reduce = reduce
        self.expand = expand
        self.grid = grid
        self.passes = passes

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, T, D) in and out; the arguments after `x` are there to stand in for timm's attention."""
        prefix = x.shape[1] - self.grid[0] * self.grid[1]
        maps = self.expand(functional.relu(self.reduce(to_map(x[:, prefix:], self.grid))))
        return to_tokens(maps, x[:, :prefix] if self.passes else torch.zeros_like(x[:, :prefix]))


class NoMixer(nn.Module):
    """No mixing: adds nothing, or the tokens themselves."""

    def __init__(self, *, passes: bool = False) -> None:
        """Args: `passes`: give the input back, not nothing."""
        super().__init__()
        self.passes = passes

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, mask: Tensor | None = None
    ) -> Tensor:
        """Like `x`, or zeros like it."""
        return x if self.passes else torch.zeros_like(x)


def carve(
    plain: Model,
    mixers: Sequence[Mixer],
    ffn_hidden: Sequence[int],
    *,
    prefix_passes: bool = False,
    skip_passes: bool = False,
    in_windows: bool = False,
) -> Model:
    """Give a dense model the layers of a compact one, in place; the new layers' weights are still to be filled.

    Args:
        plain: timm's model.
        mixers: Per block.
        ffn_hidden: Hidden units per block; of a narrowed FFN the first ones stay.
        prefix_passes: See `core.models.cards.CompactCard`.
        skip_passes: See there.
        in_windows: See there.
    """
    views = family_of(plain).views_of(plain, passes=prefix_passes, in_windows=in_windows)
    for block, view, kind, hidden in zip(blocks_of(plain), views, mixers, ffn_hidden, strict=True):
        attn = block.attn
        if kind != "msa":
            view.unwindow(block)
        if kind == "skip":
            block.attn = NoMixer(passes=skip_passes)
        elif kind != "msa":
            side = 3 if kind == "conv3x3" else 1
            dim, bias = attn.qkv.in_features, attn.proj.bias is not None
            d, device = mix.head_dim(attn), attn.qkv.weight.device
            reduce = nn.Conv2d(dim, d, side, padding=side // 2, device=device)
            expand = nn.Conv2d(d, dim, 1, bias=bias, device=device)
            block.attn = ConvMixer(reduce, expand, view.grid, passes=view.passes)
        if hidden != block.mlp.fc1.out_features:
            narrow_ffn(block, torch.arange(block.mlp.fc1.out_features) < hidden)
    return plain


@torch.no_grad()
def compact(model: SinglePathViT, architecture: Architecture) -> nn.Module:
    """A plain timm ViT or Swin with this architecture, in evaluation mode; `model` stays as it is.

    Weights that stay whole are the model's own memory, not copies of it, so that a slider's next step costs little:
    train neither of the two while both are in use. Parts without weights are the model's own too; hooks go on others.

    Args:
        model: The search form with its weights.
        architecture: What to keep; needs `ffn_kept`.

    Raises:
        ValueError: If the architecture does not say which hidden units are kept.
    """
    if architecture.ffn_kept is None:
        raise ValueError("this architecture gives the number of hidden units, not which")
    plain = _twin(model.backbone)
    blocks, sources = blocks_of(plain), blocks_of(model.backbone)
    for block, path, kept in zip(blocks, model.paths, architecture.ffn_kept, strict=True):
        if path.unit_means is not None:
            units = torch.from_numpy(kept).to(path.unit_means)
            block.mlp.fc2.bias = nn.Parameter(shifted_bias(block, path, units))
        narrow_ffn(block, torch.from_numpy(kept))
    semantics = {"prefix_passes": model.prefix_passes, "in_windows": model.in_windows}
    carve(plain, architecture.mixers, architecture.ffn_hidden, **semantics)
    for block, source, path, kind in zip(blocks, sources, model.paths, architecture.mixers, strict=True):
        if kind in ("conv3x3", "conv1x1"):
            fill_conv(block.attn, source.attn, path, kind, model.alpha)
        if kind != "msa":
            block.attn.eval()
    return plain


def _twin(module: Model) -> Model:
    """The same module in evaluation mode, down to its parts, in the first one's memory: its layers can be changed.

    What `copy.deepcopy` would do with all tensors in its memo, in a fiftieth of the time. Parts that hold nothing and
    do the same in training, half of a ViT's modules, are not made again: hang no hooks on them.
    """
    if isinstance(module, nn.Identity | nn.GELU) or (isinstance(module, nn.Dropout) and module.p == 0):
        return module
    twin = object.__new__(type(module))
    vars(twin).update(
        {
            name: (value.copy() if value else type(value)()) if isinstance(value, dict) else value  # most are empty
            for name, value in vars(module).items()
        }
    )
    vars(twin)["training"] = False
    for name, weight in module._parameters.items():
        twin._parameters[name] = None if weight is None else nn.Parameter(weight.detach(), weight.requires_grad)
    for name, part in module._modules.items():
        twin._modules[name] = None if part is None else _twin(part)
    return twin


def fill_conv(conv: ConvMixer, attn: Any, path: Path, kind: Mixer, alpha: float) -> None:
    """Read one block's convolution out of its attention, with the batch norm folded in, in place."""
    kernels = mix.read_kernels(attn, mix.head_mixing(path.head_logits, alpha))
    _, d, dim = kernels.weight.shape
    if kind == "conv3x3":
        norm, bias, out = path.bn_3x3, kernels.bias.sum(dim=0), kernels.out.sum(dim=0)
        weight = kernels.weight.permute(1, 2, 0).reshape(d, dim, 3, 3)
    else:
        norm, bias, out = path.bn_1x1, kernels.bias[mix.CENTRE], kernels.out[mix.CENTRE]
        weight = kernels.weight[mix.CENTRE, :, :, None, None]
    fold_norm(conv.reduce, weight, bias, norm)
    conv.expand.weight.copy_(out[:, :, None, None])
    if conv.expand.bias is not None:
        conv.expand.bias.copy_(attn.proj.bias)


def fold_norm(conv: nn.Conv2d, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> None:
    """Weight and bias of a convolution with the norm behind it folded in: w' = w s, b' = (b - mean) s + shift.

    s = scale / sqrt(var + eps), per output channel; in place.
    """
    assert conv.bias is not None
    mean, variance = statistics(norm)
    scale = norm.weight / (variance + norm.eps).sqrt()
    conv.weight.copy_(weight * scale[:, None, None, None])
    conv.bias.copy_((bias - mean) * scale + norm.bias)


def narrow_ffn(block: PreNorm, kept: Tensor) -> None:
    """Remove the hidden units that are not kept, bool (F,), in place."""
    fc1, fc2 = block.mlp.fc1, block.mlp.fc2
    left = kept.nonzero().flatten().to(fc1.weight.device)  # selecting by numbers is four times faster than by a mask
    fc1.weight, fc1.bias = (nn.Parameter(weight.index_select(0, left)) for weight in (fc1.weight, fc1.bias))
    fc2.weight = nn.Parameter(fc2.weight.index_select(1, left))
    fc1.out_features = fc2.in_features = len(left)


def derived_gating(architecture: Architecture, device: torch.device) -> Gating:
    """Gates that make the search form compute this architecture, which knows what it keeps: the derived form."""
    assert architecture.ffn_kept is not None
    return Gating(
        [(torch.arange(3, device=device) < BY_OPEN_GATES.index(m)).float() for m in architecture.mixers],
        [torch.from_numpy(k).to(device).float() for k in architecture.ffn_kept],
    )
