"""The DeiT family: timm's VisionTransformer with standard blocks and a class token (deit_*, most vit_*)."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import timm
from timm.layers import Attention, Mlp, resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed
from torch import Tensor, nn

from core.costs.deit import DEIT, DeitGeometry
from core.families import timm_models
from core.families.base import NO_HEAD, OWN_HEAD, Backbones, Layout, Left, PublishedSearch, Search, Size
from core.families.block import PreNorm, class_attended
from core.families.timm_models import check_size, create, refused, sides, take_classes
from core.families.views import FlatView, Step, View

FAMILY = "deit"
METHODS = ("tokens", "singlepath")
WHY_NOT = None
BASELINES = True
NO_ROLLOUT = None
NAMES = "a deit_* or vit_* with standard blocks and a class token"
TAKEN = (
    Backbones("DeiT, also distilled, and DeiT III", "`deit_*`, `deit3_*`", OWN_HEAD),
    Backbones("ViT with a class token, FlexiViT", "`vit_*_patch*`, `flexivit_*`", OWN_HEAD),
    Backbones("CLIP, fine-tuned as a classifier", "`vit_*_clip_*.*_ft_in1k`, `…_ft_in12k`", OWN_HEAD),
    Backbones("CLIP, the image tower alone", "other `vit_*_clip_*`", NO_HEAD),
    Backbones("DINOv2, with and without registers", "`vit_*_dinov2`, but giant", NO_HEAD),
)
OWN_NAMES = ()
GEOMETRY = DeitGeometry
BACKBONE = VisionTransformer
LAYOUT: Layout = "flat"
SEARCH = Search(
    alpha=0.01,
    published=(
        PublishedSearch(DEIT["deit_tiny_patch16_224"], 20.0, 1e-3),
        PublishedSearch(DEIT["deit_small_patch16_224"], 3.0, 5e-4),
        PublishedSearch(DEIT["deit_base_patch16_224"], 0.08, 1e-3),  # towards 6 G; 0.06 towards 10
    ),
)
"""Source: He et al. 2021, arXiv:2111.11802, and their release."""
normalisation_of = timm_models.normalisation_of
attended = class_attended


def of_size(size: Size) -> DeitGeometry:
    """A DeiT of that size, with convolutions of stride 2 for a patch embedding and FFNs of four times the width."""
    sizes = (size.img_size, 2 ** len(size.stem), size.width, size.depth, size.heads, 4 * size.width, size.classes)
    return DeitGeometry(*sizes, size.stem)


def geometry_from(raw: dict) -> DeitGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return DeitGeometry(**{**raw, "stem": tuple(raw["stem"])})


def first_words(geometry: Any) -> str:
    """The class token, and whatever a model has beside it."""
    return "the class token"


def cost_aside(geometry: DeitGeometry) -> None:
    """Nothing is to be said of its MACs besides."""


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family; those that answer from a mean or a pooling have their own."""
    others = ("_gap_", "_siglip_")
    return name.startswith(("deit", "vit_", "flexivit_")) and not any(mark in name for mark in others)


def build(geometry: DeitGeometry, *, drop_path: float = 0.0) -> VisionTransformer:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build; `geometry.timm` names one of timm's own, else the numbers say it all.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.

    Raises:
        InputError: If `geometry.timm` is no plain DeiT or ViT.
    """
    if geometry.timm is not None:
        model = timm.create_model(
            geometry.timm, num_classes=geometry.classes, img_size=geometry.img_size, drop_path_rate=drop_path
        )
        return check_supported(model, geometry.timm)
    embed: dict[str, Any] = {}
    if geometry.stem:
        stem = ConvStem(
            depth=len(geometry.stem), channels=geometry.stem, stride=(2,) * len(geometry.stem), act_layer=nn.GELU
        )
        embed = {"embed_layer": partial(HybridEmbed, backbone=stem, proj=geometry.stem[-1] != geometry.width)}
    kind = VisionTransformerDistilled if geometry.distilled else VisionTransformer
    return kind(
        img_size=geometry.img_size,
        patch_size=1 if geometry.stem else geometry.patch,
        num_classes=geometry.classes,
        embed_dim=geometry.width,
        depth=geometry.depth,
        num_heads=geometry.heads,
        mlp_ratio=(geometry.ffn_hidden + 0.5) / geometry.width,  # timm cuts the product off to a whole number
        drop_path_rate=drop_path,
        **embed,
    )


def timm_twin(geometry: DeitGeometry) -> nn.Module | None:
    """The same model as timm's own factory builds it, which writes down how; None where it has no such stem."""
    if geometry.stem:
        return None
    return timm.create_model(
        "deit_tiny_distilled_patch16_224" if geometry.distilled else "vit_tiny_patch16_224",
        num_classes=geometry.classes,
        img_size=geometry.img_size,
        patch_size=geometry.patch,
        embed_dim=geometry.width,
        depth=geometry.depth,
        num_heads=geometry.heads,
        mlp_ratio=(geometry.ffn_hidden + 0.5) / geometry.width,  # as in `build`
    )


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> VisionTransformer:
    """A model of timm by name, in training mode; the arguments as in `core.families.timm_models.create`.

    Raises:
        InputError: If its weights are unavailable, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> VisionTransformer:
    """`model` itself, if both methods can work on it.

    Raises:
        InputError: If it is no VisionTransformer with a class token and standard blocks.
    """
    if not isinstance(model, VisionTransformer) or not _plain(model):
        raise refused(model, name, NAMES)
    return model


def _plain(model: VisionTransformer) -> bool:
    blocks = blocks_of(model)
    return (
        bool(model.has_class_token)
        and model.global_pool == "token"
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in blocks)
        and model.num_classes > 0
        and _stem_fits(model)
        and all(b.attn.gate is None and isinstance(b.attn.norm, nn.Identity) for b in blocks)
        and all(isinstance(b.mlp.norm, nn.Identity) for b in blocks)
    )


def _stem_fits(model: VisionTransformer) -> bool:
    """Whether patches are embedded by one convolution, or by a stem whose strides of 2 alone make them."""
    stem: Any = getattr(model.patch_embed, "backbone", None)
    if stem is None:
        return True
    rows, height = model.patch_embed.grid_size[0], model.patch_embed.img_size[0]
    return isinstance(stem, ConvStem) and 2 ** len(stem) * rows == height


def geometry_of(model: VisionTransformer, timm_name: str | None = None) -> DeitGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules."""
    first = blocks_of(model)[0]
    img_size, patch = sides(model.patch_embed)
    stem = ()
    if isinstance(model.patch_embed, HybridEmbed):
        stem = tuple(layer.conv.out_channels for layer in cast(Any, model.patch_embed).backbone)
    return DeitGeometry(
        img_size=img_size,
        patch=patch,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=first.attn.num_heads,
        ffn_hidden=first.mlp.fc1.out_features,
        classes=model.num_classes,
        stem=stem,
        prefix_tokens=model.num_prefix_tokens,
        distilled=isinstance(model, VisionTransformerDistilled),
        timm=timm_name,
    )


def take_over(model: VisionTransformer, before: VisionTransformer, classes: Sequence[int | None]) -> None:
    """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

    Positions are resampled to the new grid (timm's bicubic `resample_abs_pos_embed`).

    Args:
        model: To be trained further.
        before: Trained.
        classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
    """
    state = before.state_dict()
    grid = model.patch_embed.grid_size
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], list(grid), num_prefix_tokens=model.num_prefix_tokens
    )
    take_classes(model, state, classes)
    model.load_state_dict(state)


def embed(model: VisionTransformer, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) to tokens (B, T, D): patches embedded, prefix tokens and positions added.

    Raises:
        InputError: If the images are not of the model's size.
    """
    check_size(images, model.patch_embed.img_size)
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def classify(model: VisionTransformer, tokens: Tensor, left: Left | None = None) -> Tensor:
    """Tokens (B, T, D) after the last block to logits (B, C); reads prefix tokens only, whatever patches are left."""
    prefix = tokens[:, : model.num_prefix_tokens]
    return model.forward_head(model.norm(prefix))


def classify_masked(model: VisionTransformer, normed: Tensor, alive: Tensor, stands: Tensor) -> Tensor:
    """The same of normalised tokens (B, P + N + S, D), whatever is alive and whatever packages stand for."""
    return model.forward_head(normed[:, : model.num_prefix_tokens])


def stages_of(model: VisionTransformer) -> list[nn.Module]:
    """The model itself, which holds all blocks."""
    return [model]


def blocks_of(model: VisionTransformer) -> list[PreNorm]:
    """All blocks from the input on, L of them."""
    return cast(list[PreNorm], list(model.blocks))


def grids_of(model: VisionTransformer) -> tuple[tuple[int, int], ...]:
    """The same patch rows and columns for each block."""
    rows, cols = model.patch_embed.grid_size
    return ((rows, cols),) * len(model.blocks)


def as_patches(embedded: Tensor) -> Tensor:
    """What the patch embedding gives: patches row by row, (B, N, D)."""
    return embedded


def views_of(model: VisionTransformer, *, passes: bool = False, in_windows: bool = False) -> tuple[View, ...]:
    """How the tokens of each block lie; there are no windows."""
    return tuple(FlatView(grid, passes) for grid in grids_of(model))


def walk(model: VisionTransformer, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Raises:
        InputError: If the images are not of the model's size.
    """
    x = embed(model, images)
    for index, block in enumerate(blocks_of(model)):
        x = step(index, block, x)
    return classify(model, x)
