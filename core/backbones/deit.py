"""The DeiT family: timm's VisionTransformer with standard blocks and a class token (deit_*, most vit_*)."""

from collections.abc import Sequence
from functools import partial

import timm
import torch
from timm.layers import Attention, Mlp, resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem, HybridEmbed
from torch import Tensor, nn

from core.backbones.timm_models import create
from core.config import Normalisation
from core.deit_counts import DeitGeometry
from core.errors import InputError

FAMILY = "deit"
METHODS = ("tokens", "singlepath")
NAMES = "a deit_* or vit_* with standard blocks and a class token"
GEOMETRY = DeitGeometry


def geometry_from(raw: dict) -> DeitGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return DeitGeometry(**{**raw, "stem": tuple(raw["stem"])})


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family."""
    return name.startswith(("deit", "vit_"))


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
    embed = {}
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


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> VisionTransformer:
    """A model of timm by name, in training mode; the arguments as in `core.backbones.timm_models.create`.

    Raises:
        InputError: If its weights are not to be had, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> VisionTransformer:
    """`model` itself, if both methods can work on it.

    Raises:
        InputError: If it is no VisionTransformer with a class token and standard blocks.
    """
    plain = (
        isinstance(model, VisionTransformer)
        and model.has_class_token
        and model.global_pool == "token"
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in model.blocks)
        and model.num_classes > 0
        and isinstance(getattr(model.patch_embed, "backbone", None), ConvStem | None)
        and all(b.attn.gate is None and isinstance(b.attn.norm, nn.Identity) for b in model.blocks)
        and all(isinstance(b.mlp.norm, nn.Identity) for b in model.blocks)
    )
    if not plain:
        raise InputError(f"{name} cannot be pruned here; choose {NAMES}.")
    return model


def geometry_of(model: VisionTransformer, timm_name: str | None = None) -> DeitGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules."""
    rows, columns = model.patch_embed.grid_size
    img_size = model.patch_embed.img_size
    if rows != columns or img_size[0] != img_size[1]:
        raise InputError(f"Only square inputs are supported; this model takes {img_size[0]} x {img_size[1]} pixels.")
    stem = ()
    if isinstance(model.patch_embed, HybridEmbed):
        stem = tuple(layer.conv.out_channels for layer in model.patch_embed.backbone)
    return DeitGeometry(
        img_size=img_size[0],
        patch=img_size[0] // rows,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=model.blocks[0].attn.num_heads,
        ffn_hidden=model.blocks[0].mlp.fc1.out_features,
        classes=model.num_classes,
        stem=stem,
        prefix_tokens=model.num_prefix_tokens,
        distilled=isinstance(model, VisionTransformerDistilled),
        timm=timm_name,
    )


def normalisation_of(model: VisionTransformer) -> Normalisation:
    """What timm says of the photos that a model of its was trained on."""
    config = model.pretrained_cfg
    return Normalisation(tuple(config["mean"]), tuple(config["std"]), config["crop_pct"], config["interpolation"])


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
    for name, fresh in model.state_dict().items():
        if name.startswith(("head", "aux_head")):
            rows = [row if old is None else state[name][old] for row, old in zip(fresh, classes, strict=True)]
            state[name] = torch.stack(rows)
    model.load_state_dict(state)


def embed(model: VisionTransformer, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) to tokens (B, T, D): patches embedded, prefix tokens and positions added.

    Raises:
        InputError: If the images are not of the model's size.
    """
    height, width = model.patch_embed.img_size
    if images.shape[-2:] != (height, width):
        raise InputError(
            f"This model takes images of {height} x {width} pixels; these have {images.shape[-2]} x {images.shape[-1]}."
        )
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def classify(model: VisionTransformer, tokens: Tensor) -> Tensor:
    """Tokens (B, T, D) after the last block to logits (B, C); reads the prefix tokens only."""
    prefix = tokens[:, : model.num_prefix_tokens]
    return model.forward_head(model.norm(prefix))
