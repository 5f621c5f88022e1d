"""The LV-ViT family: timm's VisionTransformer with a convolutional stem, scaled residuals and a head on every patch.

timm has none. Keys of the weights are those of the public release (github.com/zihangJiang/TokenLabeling).
"""

from dataclasses import replace

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from core.config import Normalisation
from core.costs.lvvit import AUX_WEIGHT, FIRST_KERNEL, KERNEL, LVVIT, SHRINK, LvvitGeometry, aux_macs
from core.costs.macs import count_macs
from core.errors import InputError
from core.families import deit
from core.families.base import OWN_HEAD, Backbones, Layout, Left, Size
from core.families.timm_models import statistics
from core.families.views import Step

FAMILY = "lvvit"
METHODS = ("tokens",)
WHY_NOT = None
BASELINES = False
NO_ROLLOUT = None
NAMES = f"an LV-ViT ({' or '.join(LVVIT)})"
TAKEN = (Backbones("LV-ViT-S and -M", "by path, from their release", OWN_HEAD),)
OWN_NAMES = tuple(LVVIT)
"""Names that are not timm's."""
GEOMETRY = LvvitGeometry
LAYOUT: Layout = "flat"
SEARCH = deit.SEARCH
RELEASE = "https://github.com/zihangJiang/TokenLabeling/releases"
WIDE = 512
"""From this width on the release crops nothing off the resized photos."""

take_over = deit.take_over
embed = deit.embed
stages_of = deit.stages_of
blocks_of = deit.blocks_of
grids_of = deit.grids_of
as_patches = deit.as_patches
views_of = deit.views_of
attended = deit.attended
first_words = deit.first_words


class Scale(nn.Module):
    """Times a constant, which is no weight."""

    def __init__(self, factor: float) -> None:
        """Set the factor."""
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * self.factor


class Stem(nn.Module):
    """Three convolutions with batch norm and ReLU, the first of stride 2, then patches cut out and projected."""

    def __init__(self, geometry: LvvitGeometry) -> None:
        """Fresh weights."""
        super().__init__()
        self.img_size = (geometry.img_size,) * 2
        self.grid_size, self.num_patches = geometry.grid, geometry.patches
        channels, side = geometry.stem_channels, geometry.patch // SHRINK
        self.conv1 = nn.Conv2d(3, channels, FIRST_KERNEL, SHRINK, FIRST_KERNEL // 2, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, KERNEL, 1, KERNEL // 2, bias=False)
        self.conv3 = nn.Conv2d(channels, channels, KERNEL, 1, KERNEL // 2, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(channels) for _ in range(3))
        self.proj = nn.Conv2d(channels, geometry.width, side, side)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to patches (B, N, D)."""
        x = images.contiguous(memory_format=torch.channels_last)  # a tenth faster on a CPU
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = (norm(conv(x)) if norm.training else folded(conv, norm, x)).relu_()
        return self.proj(x).flatten(2).transpose(1, 2)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """A convolution without bias and its batch norm at evaluation, as one convolution."""
    mean, variance = statistics(norm)
    factor = norm.weight * (variance + norm.eps).rsqrt()
    bias = norm.bias - mean * factor
    return functional.conv2d(x, conv.weight * factor[:, None, None, None], bias, conv.stride, conv.padding)


class LVViT(VisionTransformer):
    """An LV-ViT; images (B, 3, H, W) to logits (B, C), in training too."""

    def __init__(self, geometry: LvvitGeometry, drop_path: float = 0.0) -> None:
        """Fresh weights; the arguments as in `build`."""
        super().__init__(
            img_size=geometry.img_size,
            patch_size=geometry.patch,
            num_classes=geometry.classes,
            embed_dim=geometry.width,
            depth=geometry.depth,
            num_heads=geometry.heads,
            mlp_ratio=(geometry.ffn_hidden + 0.5) / geometry.width,  # timm cuts the product off to a whole number
            qkv_bias=geometry.qkv_bias,
            norm_layer=nn.LayerNorm,
            drop_path_rate=drop_path,
            embed_layer=lambda **_: Stem(geometry),
        )
        self.geometry = geometry
        for block in self.blocks:
            block.ls1, block.ls2 = Scale(1 / geometry.residual), Scale(1 / geometry.residual)
        self.aux_head = nn.Linear(geometry.width, geometry.classes) if geometry.aux_head else None
        if self.aux_head is not None:
            nn.init.trunc_normal_(self.aux_head.weight, std=0.02)
            nn.init.zeros_(self.aux_head.bias)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Normalised tokens (B, 1 + N, D), nothing pruned, to logits (B, C); with `pre_logits` to the class token."""
        if pre_logits:
            return x[:, 0]
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        return combine(self, prefix, None if self.aux_head is None else self.aux_head(patches).amax(dim=1))


def combine(model: LVViT, prefix: Tensor, highest: Tensor | None) -> Tensor:
    """Logits (B, C): class head + 0.5 x the highest auxiliary logits of the patches that are alive.

    Args:
        model: Whose class head.
        prefix: Normalised prefix tokens, (B, 1, D).
        highest: (B, C), 0 for an image without any patch; None: no auxiliary head.

    Source: Jiang et al. 2021, arXiv:2104.10858, and their release.
    """
    logits = model.head(prefix[:, 0])
    return logits if highest is None else logits + AUX_WEIGHT * highest


BACKBONE = LVViT


def classify(model: LVViT, tokens: Tensor, left: Left) -> Tensor:
    """Logits (B, C) where each image has another number of patches left, at which the auxiliary head looks.

    Args:
        model: In evaluation mode.
        tokens: Prefix tokens after the last block, first of (B, T, D).
        left: See `core.families.base.Left`.
    """
    prefix = model.norm(tokens[:, : model.num_prefix_tokens])
    if model.aux_head is None:
        return combine(model, prefix, None)
    alive = left()
    parts = model.aux_head(model.norm(alive.patches)).split(list(alive.counts))  # (n_b, C) each
    highest = [part.amax(dim=0) if len(part) else part.new_zeros(part.shape[1]) for part in parts]
    return combine(model, prefix, torch.stack(highest))


def classify_masked(model: LVViT, normed: Tensor, alive: Tensor, stands: Tensor) -> Tensor:
    """The same with nothing removed: normalised tokens (B, 1 + N + S, D), alive (B, N) where above 0."""
    first = model.num_prefix_tokens
    prefix, patches = normed[:, :first], normed[:, first : first + alive.shape[1]]
    if model.aux_head is None:
        return combine(model, prefix, None)
    gone = (alive <= 0)[..., None]  # (B, N, 1)
    highest = model.aux_head(patches).masked_fill(gone, -torch.inf).amax(dim=1)
    return combine(model, prefix, highest.masked_fill(gone.all(dim=1), 0.0))


def of_size(size: Size) -> LvvitGeometry:
    """An LV-ViT of that size, with a stem of its own and FFNs of three times the width."""
    sizes = (size.img_size, size.patch, size.width, size.depth, size.heads, 3 * size.width, size.classes)
    return LvvitGeometry(*sizes, stem_channels=size.stem_channels)


def geometry_from(raw: dict) -> LvvitGeometry:
    """A geometry as JSON holds it; older files also hold what a plain ViT may have and an LV-ViT never has."""
    always = {"stem": [], "prefix_tokens": 1, "distilled": False, "timm": None}
    if any(raw.get(key, value) != value for key, value in always.items()):
        raise ValueError(f"an LV-ViT has a stem of its own and one class token: {raw}")
    return LvvitGeometry(**{key: value for key, value in raw.items() if key not in always})


def cost_aside(geometry: LvvitGeometry) -> str | None:
    """MACs without the auxiliary head, which other counts leave out."""
    if not geometry.aux_head:
        return None
    return f"{(count_macs(geometry).total - aux_macs(geometry)) / 1e9:.4g} without its auxiliary head"


def claims(name: str) -> bool:
    """Whether a name is of this family."""
    return name in OWN_NAMES


def build(geometry: LvvitGeometry, *, drop_path: float = 0.0) -> LVViT:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.
    """
    return LVViT(geometry, drop_path)


def from_timm(name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None) -> LVViT:
    """A model by its name in the release, in training mode with fresh weights; timm has none of them.

    Args:
        name: One of `OWN_NAMES`.
        classes: C; None: 1000.
        pretrained: Must be False.
        img_size: Pixels; None: as released.

    Raises:
        InputError: If pretrained weights are asked for, or the size is no whole number of patches.
    """
    if pretrained:
        raise not_by_name(name)
    plain = LVVIT[name]
    try:
        return build(replace(plain, classes=classes or plain.classes, img_size=img_size or plain.img_size))
    except ValueError as error:
        raise InputError(f"{name} cannot be built so; --img-size takes a multiple of {plain.patch}.") from error


def not_by_name(name: str) -> InputError:
    """What to do where the weights behind a name are asked for: nothing here fetches them."""
    return InputError(
        f"The weights of {name} do not come by name; download the file from {RELEASE} and give its path instead."
    )


def geometry_of(model: LVViT, timm_name: str | None = None) -> LvvitGeometry:
    """The geometry of a model that `build` made."""
    return model.geometry


def normalisation_of(model: LVViT) -> Normalisation:
    """How the release prepares photos for a model of this width."""
    return normalisation(model.geometry)


def normalisation(geometry: LvvitGeometry) -> Normalisation:
    """The same, told by the geometry."""
    return Normalisation(crop_pct=1.0 if geometry.width >= WIDE else 0.9)


def walk(model: LVViT, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Raises:
        InputError: If the images are not of the model's size.
    """
    x = embed(model, images)
    for index, block in enumerate(blocks_of(model)):
        x = step(index, block, x)
    return model.forward_head(model.norm(x))
