"""The PiT family: timm's PoolingVisionTransformer (pit_*), stages of blocks with a pooling convolution in between."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.layers import Attention, Mlp
from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from core.costs.pit import PitGeometry
from core.families import deit, timm_models
from core.families.base import OWN_HEAD, Backbones, Layout
from core.families.block import PreNorm, class_attended, class_look
from core.families.timm_models import check_size, create, refused, square, take_classes
from core.families.views import FlatView, Step, View

FAMILY = "pit"
METHODS = ("tokens",)
WHY_NOT = None
BASELINES = False
NO_ROLLOUT = "pools its patches, and a rollout ends there; choose gradients or occlusion"
NAMES = "a pit_*"
TAKEN = (Backbones("PiT, also distilled", "`pit_*`", OWN_HEAD),)
OWN_NAMES = ()
GEOMETRY = PitGeometry
BACKBONE = PoolingVisionTransformer
LAYOUT: Layout = "pooled"
SEARCH = deit.SEARCH
normalisation_of = timm_models.normalisation_of
attended = class_attended
first_words = deit.first_words


def geometry_from(raw: dict) -> PitGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return PitGeometry(**{**raw, **{key: tuple(raw[key]) for key in ("widths", "depths", "heads")}})


def cost_aside(geometry: PitGeometry) -> None:
    """Nothing is to be said of its MACs besides."""


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
    """A model of timm by name, in training mode; the arguments as in `core.families.timm_models.create`.

    Raises:
        InputError: If its weights are unavailable, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> PoolingVisionTransformer:
    """`model` itself, if it is a PiT with standard blocks and a head.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(model, PoolingVisionTransformer) or not _plain(model):
        raise refused(model, name, f"{NAMES} as timm has it")
    return model


def _plain(model: PoolingVisionTransformer) -> bool:
    return (
        model.global_pool == "token"
        and model.num_classes > 0
        and all(isinstance(stage.norm, nn.Identity) for stage in stages_of(model))
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in blocks_of(model))
    )


def geometry_of(model: PoolingVisionTransformer, timm_name: str | None = None) -> PitGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules."""
    img_size, embed = square(model.patch_embed.img_size), model.patch_embed.conv
    firsts = [stage.blocks[0] for stage in stages_of(model)]
    return PitGeometry(
        img_size=img_size,
        patch=embed.kernel_size[0],
        stride=embed.stride[0],
        widths=tuple(block.attn.qkv.in_features for block in firsts),
        depths=tuple(len(stage.blocks) for stage in stages_of(model)),
        heads=tuple(block.attn.num_heads for block in firsts),
        ffn_ratio=firsts[0].mlp.fc1.out_features // firsts[0].attn.qkv.in_features,
        classes=model.num_classes,
        prefix_tokens=model.num_tokens,
        distilled=model.head_dist is not None,
        timm=timm_name,
    )


def take_over(model: PoolingVisionTransformer, before: PoolingVisionTransformer, classes: Sequence[int | None]) -> None:
    """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

    Positions are resampled to the new grid (bicubic, as timm does where a PiT is built for another size).

    Args:
        model: To be trained further.
        before: Trained.
        classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
    """
    state = before.state_dict()
    size = model.pos_embed.shape[-2:]
    if state["pos_embed"].shape[-2:] != size:
        state["pos_embed"] = functional.interpolate(state["pos_embed"], size, mode="bicubic", antialias=True)
    take_classes(model, state, classes)
    model.load_state_dict(state)


def stages_of(model: PoolingVisionTransformer) -> list[Any]:
    """What holds the blocks, from the input on."""
    return cast(list[Any], list(model.transformers))


def blocks_of(model: PoolingVisionTransformer) -> list[PreNorm]:
    """All blocks, stage after stage, L of them."""
    return [block for stage in stages_of(model) for block in stage.blocks]


def grids_of(model: PoolingVisionTransformer) -> tuple[tuple[int, int], ...]:
    """Patch rows and columns that each block works on, L of them."""
    return geometry_of(model).block_grids


def views_of(model: PoolingVisionTransformer, *, passes: bool = False, in_windows: bool = False) -> tuple[View, ...]:
    """How the tokens of each block lie; there are no windows."""
    return tuple(FlatView(grid, passes) for grid in grids_of(model))


def embed(model: PoolingVisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) to the first stage's map (B, D, rows, cols), positions added, and prefix tokens (B, P, D).

    Raises:
        InputError: If the images are not of the model's size.
    """
    check_size(images, model.patch_embed.img_size)
    maps = model.pos_drop(model.patch_embed(images) + model.pos_embed)
    return maps, model.cls_token.expand(len(images), -1, -1)


def as_patches(embedded: Tensor) -> Tensor:
    """A map (B, D, rows, cols) as patches row by row, (B, N, D)."""
    return embedded.flatten(2).transpose(1, 2)


def map_of(patches: Tensor, like: Tensor) -> Tensor:
    """Patches (B, N, D) as a map of the rows and columns of `like`, (B, D, rows, cols)."""
    return patches.transpose(1, 2).unflatten(2, like.shape[-2:])


def classify(model: PoolingVisionTransformer, tokens: Tensor) -> Tensor:
    """Prefix tokens (B, P, D) after the last block to logits (B, C)."""
    return model.forward_head(model.norm(tokens))


def walk(model: PoolingVisionTransformer, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block; tokens (B, P + N, D) between them.

    Raises:
        InputError: If the images are not of the model's size.
    """
    maps, prefix = embed(model, images)
    count, index = prefix.shape[1], 0
    for stage in stages_of(model):
        if stage.pool is not None:
            maps, prefix = stage.pool(maps, prefix)
        x = torch.cat((prefix, as_patches(maps)), dim=1)
        for block in stage.blocks:
            x, index = step(index, block, x), index + 1
        prefix, maps = x[:, :count], map_of(x[:, count:], maps)
    return classify(model, prefix)


def look(model: PoolingVisionTransformer, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The dense forward, and where its class token looks.

    Returns:
        Logits (B, C), normalised patches of the last stage (B, N, D), and per block the class token's attention on
        the patches of that block's own grid, mean over heads, (B, N), L of them.
    """
    attention, ends, count = [], [], model.num_tokens

    def step(index: int, block: PreNorm, x: Tensor) -> Tensor:
        attention.append(class_look(block.attn, block.norm1(x), count))
        ends.append(block(x))
        return ends[-1]

    logits = walk(model, images, step)
    return logits, model.norm(ends[-1][:, count:]), attention
