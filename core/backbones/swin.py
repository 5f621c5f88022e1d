"""The Swin family: timm's SwinTransformer with one size of window in all stages (swin_*); arXiv:2103.14030."""

from collections.abc import Callable, Sequence

import timm
import torch
from timm.layers import Mlp
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention
from torch import Tensor, nn

from core.backbones.timm_models import create
from core.config import Normalisation
from core.errors import InputError
from core.swin_counts import SwinGeometry

FAMILY = "swin"
METHODS = ("singlepath",)
NAMES = "a swin_* with windows of one size"
WHY_NOT = "its windows and the merging between its stages need every patch in its place"
GEOMETRY = SwinGeometry


def geometry_from(raw: dict) -> SwinGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return SwinGeometry(**{**raw, "depths": tuple(raw["depths"]), "heads": tuple(raw["heads"])})


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family."""
    return name.startswith("swin_")


def build(
    geometry: SwinGeometry, *, drop_path: float = 0.0, kind: type[SwinTransformer] = SwinTransformer
) -> SwinTransformer:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build; `geometry.timm` names one of timm's own, else the numbers say it all.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.
        kind: The class to build where the numbers say it all.

    Raises:
        InputError: If `geometry.timm` is no Swin that can be pruned.
    """
    if geometry.timm is not None:
        size = {"num_classes": geometry.classes, "img_size": geometry.img_size}
        return check_supported(timm.create_model(geometry.timm, drop_path_rate=drop_path, **size), geometry.timm)
    return kind(
        img_size=geometry.img_size,
        patch_size=geometry.patch,
        num_classes=geometry.classes,
        embed_dim=geometry.width,
        depths=geometry.depths,
        num_heads=geometry.heads,
        window_size=geometry.window,
        mlp_ratio=geometry.ffn_ratio,
        drop_path_rate=drop_path,
    )


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> SwinTransformer:
    """A model of timm by name, in training mode; the arguments as in `core.backbones.timm_models.create`.

    Raises:
        InputError: If its weights are not to be had, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> SwinTransformer:
    """`model` itself, if it can be pruned.

    Raises:
        InputError: If it is no SwinTransformer with standard blocks, a classifier and windows of one size.
    """
    blocks = blocks_of(model) if isinstance(model, SwinTransformer) else []
    plain = (
        bool(blocks)
        and all(type(b) is SwinTransformerBlock and type(b.attn) is WindowAttention for b in blocks)
        and all(type(b.mlp) is Mlp and isinstance(b.mlp.norm, nn.Identity) for b in blocks)
        and all(b.window_size == tuple(map(min, blocks[0].window_size, b.input_resolution)) for b in blocks)
        and model.num_classes > 0
        and model.global_pool == "avg"
    )
    if not plain:
        raise InputError(f"{name} cannot be pruned here; choose {NAMES}, such as swin_tiny_patch4_window7_224.")
    return model


def geometry_of(model: SwinTransformer, timm_name: str | None = None) -> SwinGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules.

    Raises:
        InputError: If its input is not square, or its windows do not fill every stage.
    """
    height, width = model.patch_embed.img_size
    if height != width:
        raise InputError(f"Only square inputs are supported; this model takes {height} x {width} pixels.")
    first, patch = blocks_of(model)[0], model.patch_embed.patch_size[0]
    window = first.window_size[0]
    try:
        return SwinGeometry(
            width=model.embed_dim,
            depths=tuple(len(stage.blocks) for stage in model.layers),
            heads=tuple(stage.blocks[0].attn.num_heads for stage in model.layers),
            img_size=height,
            patch=patch,
            window=window,
            ffn_ratio=first.mlp.fc1.out_features // model.embed_dim,
            classes=model.num_classes,
            timm=timm_name,
        )
    except ValueError as error:
        whole = patch * window * 2 ** (len(model.layers) - 1)
        raise InputError(
            f"{timm_name or 'This Swin'} cannot be pruned at {height} pixels, where its windows of {window} x {window} "
            f"patches do not fill every stage; choose a multiple of {whole}."
        ) from error


def normalisation_of(model: SwinTransformer) -> Normalisation:
    """What timm says of the photos that a model of its was trained on."""
    config = model.pretrained_cfg
    return Normalisation(tuple(config["mean"]), tuple(config["std"]), config["crop_pct"], config["interpolation"])


def take_over(model: SwinTransformer, before: SwinTransformer, classes: Sequence[int | None]) -> None:
    """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

    Args:
        model: To be trained further.
        before: Trained; its windows are the same, and so are its relative positions.
        classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
    """
    state = before.state_dict()
    for name, fresh in model.state_dict().items():
        if name.startswith("head."):
            rows = [row if old is None else state[name][old] for row, old in zip(fresh, classes, strict=True)]
            state[name] = torch.stack(rows)
    model.load_state_dict(state)


def blocks_of(model: SwinTransformer) -> list[nn.Module]:
    """All blocks from the input on, stage by stage, L of them."""
    return [block for stage in model.layers for block in stage.blocks]


def walk(model: SwinTransformer, images: Tensor, step: Callable[[int, nn.Module, Tensor], Tensor]) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Args:
        model: Whose patch embedding, merging, last norm and classifier run.
        images: Normalised.
        step: Number of the block from 0, the block, and its input (B, h, w, D) to its output.

    Raises:
        InputError: If the images are not of the model's size.
    """
    height, width = model.patch_embed.img_size
    if images.shape[-2:] != (height, width):
        raise InputError(
            f"This model takes images of {height} x {width} pixels; these have {images.shape[-2]} x {images.shape[-1]}."
        )
    x, index = model.patch_embed(images), 0
    for stage in model.layers:
        x = stage.downsample(x)
        for block in stage.blocks:
            x = step(index, block, x)
            index += 1
    return model.forward_head(model.norm(x))
