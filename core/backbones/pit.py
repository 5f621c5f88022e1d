"""The PiT family: timm's PoolingVisionTransformer (pit_*), stages of blocks with a pooling convolution in between."""

import torch
from timm.layers import Attention, Mlp
from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from core.backbones import deit
from core.backbones.block import class_look
from core.backbones.timm_models import create
from core.errors import InputError
from core.pit_counts import PitGeometry

FAMILY = "pit"
METHODS = ("tokens",)
NAMES = "a pit_*"
GEOMETRY = PitGeometry

normalisation_of = deit.normalisation_of


def geometry_from(raw: dict) -> PitGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return PitGeometry(**{**raw, **{key: tuple(raw[key]) for key in ("widths", "depths", "heads")}})


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family."""
    return name.startswith("pit_")


def build(geometry: PitGeometry, *, drop_path: float = 0.0) -> PoolingVisionTransformer:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.
    """
    return PoolingVisionTransformer(
        img_size=geometry.img_size,
        patch_size=geometry.patch,
        stride=geometry.stride,
        base_dims=[width // heads for width, heads in zip(geometry.widths, geometry.heads, strict=True)],
        depth=geometry.depths,
        heads=geometry.heads,
        mlp_ratio=geometry.ffn_ratio,
        num_classes=geometry.classes,
        distilled=geometry.distilled,
        drop_path_rate=drop_path,
    )


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> PoolingVisionTransformer:
    """A model of timm by name, in training mode; the arguments as in `core.backbones.timm_models.create`.

    Raises:
        InputError: If its weights are not to be had, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> PoolingVisionTransformer:
    """`model` itself, if it is a PiT with standard blocks and a head.

    Raises:
        InputError: If it is not.
    """
    plain = (
        isinstance(model, PoolingVisionTransformer)
        and model.global_pool == "token"
        and model.num_classes > 0
        and all(isinstance(stage.norm, nn.Identity) for stage in model.transformers)
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in blocks_of(model))
    )
    if not plain:
        raise InputError(f"{name} cannot be pruned here; choose {NAMES} as timm has it.")
    return model


def geometry_of(model: PoolingVisionTransformer, timm_name: str | None = None) -> PitGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules."""
    img_size, embed = model.patch_embed.img_size, model.patch_embed.conv
    if img_size[0] != img_size[1]:
        raise InputError(f"Only square inputs are supported; this model takes {img_size[0]} x {img_size[1]} pixels.")
    firsts = [stage.blocks[0] for stage in model.transformers]
    return PitGeometry(
        img_size=img_size[0],
        patch=embed.kernel_size[0],
        stride=embed.stride[0],
        widths=tuple(block.attn.qkv.in_features for block in firsts),
        depths=tuple(len(stage.blocks) for stage in model.transformers),
        heads=tuple(block.attn.num_heads for block in firsts),
        ffn_ratio=firsts[0].mlp.fc1.out_features // firsts[0].attn.qkv.in_features,
        classes=model.num_classes,
        prefix_tokens=model.num_tokens,
        distilled=model.head_dist is not None,
        timm=timm_name,
    )


def blocks_of(model: PoolingVisionTransformer) -> list[Block]:
    """All blocks, stage after stage, L of them."""
    return [block for stage in model.transformers for block in stage.blocks]


def embed(model: PoolingVisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) to the first stage's map (B, D, rows, cols), positions added, and prefix tokens (B, P, D).

    Raises:
        InputError: If the images are not of the model's size.
    """
    height, width = model.patch_embed.img_size
    if images.shape[-2:] != (height, width):
        raise InputError(
            f"This model takes images of {height} x {width} pixels; these have {images.shape[-2]} x {images.shape[-1]}."
        )
    maps = model.pos_drop(model.patch_embed(images) + model.pos_embed)
    return maps, model.cls_token.expand(len(images), -1, -1)


def patches_of(maps: Tensor) -> Tensor:
    """A map (B, D, rows, cols) as patches row by row, (B, N, D)."""
    return maps.flatten(2).transpose(1, 2)


def map_of(patches: Tensor, like: Tensor) -> Tensor:
    """Patches (B, N, D) as a map of the rows and columns of `like`, (B, D, rows, cols)."""
    return patches.transpose(1, 2).unflatten(2, like.shape[-2:])


def classify(model: PoolingVisionTransformer, prefix: Tensor) -> Tensor:
    """Prefix tokens (B, P, D) after the last block to logits (B, C)."""
    return model.forward_head(model.norm(prefix))


def look(model: PoolingVisionTransformer, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The dense forward, and where its class token looks.

    Returns:
        Logits (B, C), normalised patches of the last stage (B, N, D), and per block the class token's attention on
        the patches of that block's own grid, mean over heads, (B, N), L of them.
    """
    maps, prefix = embed(model, images)
    attention, count = [], prefix.shape[1]
    for stage in model.transformers:
        if stage.pool is not None:
            maps, prefix = stage.pool(maps, prefix)
        x = torch.cat((prefix, patches_of(maps)), dim=1)
        for block in stage.blocks:
            attention.append(class_look(block.attn, block.norm1(x), count))
            x = block(x)
        prefix, maps = x[:, :count], map_of(x[:, count:], maps)
    return classify(model, prefix), model.norm(x[:, count:]), attention
