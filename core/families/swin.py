"""The Swin family: timm's SwinTransformer with one size of window in all stages (swin_*); arXiv:2103.14030."""

from collections.abc import Sequence
from typing import Any, cast

import timm
from timm.layers import Mlp
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention
from torch import Tensor, nn

from core.costs.swin import SWIN, SwinGeometry
from core.errors import InputError
from core.families import timm_models
from core.families.base import OWN_HEAD, Backbones, Layout, PublishedSearch, Search
from core.families.block import PreNorm
from core.families.timm_models import check_size, create, refused, square, take_classes
from core.families.views import MapView, Step, View
from core.families.windows import masked_look

FAMILY = "swin"
METHODS = ("tokens", "singlepath")
WHY_NOT = None
BASELINES = False
NO_ROLLOUT = "is a Swin, which has no class token to roll out; choose another attribution"
NAMES = "a swin_* with windows of one size"
TAKEN = (Backbones("Swin with windows of one size", "`swin_*`", OWN_HEAD),)
OWN_NAMES = ()
GEOMETRY = SwinGeometry
BACKBONE = SwinTransformer
LAYOUT: Layout = "windows"
SEARCH = Search(
    alpha=100.0,
    published=(
        PublishedSearch(SWIN["swin_tiny_patch4_window7_224"], 2.8, 5e-4),
        PublishedSearch(SWIN["swin_small_patch4_window7_224"], 0.4, 5e-4),
        PublishedSearch(SWIN["swin_base_patch4_window7_224"], 0.1, 5e-4),
    ),
)
"""Source: He et al. 2021, arXiv:2111.11802, and their release."""
normalisation_of = timm_models.normalisation_of


def geometry_from(raw: dict) -> SwinGeometry:
    """A geometry as JSON holds it, lists for tuples."""
    return SwinGeometry(**{**raw, "depths": tuple(raw["depths"]), "heads": tuple(raw["heads"])})


def first_words(geometry: SwinGeometry) -> str:
    """Nothing."""
    return ""


def cost_aside(geometry: SwinGeometry) -> None:
    """Nothing is to be said of its MACs besides."""


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
        size: dict[str, Any] = {"num_classes": geometry.classes, "img_size": geometry.img_size}
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
    """A model of timm by name, in training mode; the arguments as in `core.families.timm_models.create`.

    Raises:
        InputError: If its weights are unavailable, or it is none that can be pruned.
    """
    return check_supported(create(name, classes=classes, pretrained=pretrained, img_size=img_size), name)


def check_supported(model: nn.Module, name: str) -> SwinTransformer:
    """`model` itself, if it can be pruned.

    Raises:
        InputError: If it is no SwinTransformer with standard blocks, a classifier and windows of one size.
    """
    if not isinstance(model, SwinTransformer) or not _plain(model):
        raise refused(model, name, f"{NAMES}, such as swin_tiny_patch4_window7_224")
    return model


def _plain(model: SwinTransformer) -> bool:
    blocks: list[Any] = list(blocks_of(model))
    return (
        bool(blocks)
        and all(type(b) is SwinTransformerBlock and type(b.attn) is WindowAttention for b in blocks)
        and all(type(b.mlp) is Mlp and isinstance(b.mlp.norm, nn.Identity) for b in blocks)
        and all(b.window_size == tuple(map(min, blocks[0].window_size, b.input_resolution)) for b in blocks)
        and model.num_classes > 0
        and model.global_pool == "avg"
    )


def geometry_of(model: SwinTransformer, timm_name: str | None = None) -> SwinGeometry:
    """The geometry of a model that `check_supported` accepts, read from its modules.

    Raises:
        InputError: If its input is not square, or its windows do not fill every stage.
    """
    embed: Any = model.patch_embed
    first: Any = blocks_of(model)[0]
    height, patch, window = square(embed.img_size), embed.patch_size[0], first.window_size[0]
    try:
        return SwinGeometry(
            width=model.embed_dim,
            depths=tuple(len(stage.blocks) for stage in stages_of(model)),
            heads=tuple(stage.blocks[0].attn.num_heads for stage in stages_of(model)),
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


def take_over(model: SwinTransformer, before: SwinTransformer, classes: Sequence[int | None]) -> None:
    """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

    Args:
        model: To be trained further.
        before: Trained; its windows are the same, and so are its relative positions.
        classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
    """
    state = before.state_dict()
    take_classes(model, state, classes)
    model.load_state_dict(state)


def stages_of(model: SwinTransformer) -> list[Any]:
    """What holds the blocks, from the input on."""
    return cast(list[Any], list(model.layers))


def blocks_of(model: SwinTransformer) -> list[PreNorm]:
    """All blocks from the input on, stage by stage, L of them."""
    return cast(list[PreNorm], [block for stage in stages_of(model) for block in stage.blocks])


def grids_of(model: SwinTransformer) -> tuple[tuple[int, int], ...]:
    """Patch rows and columns that each block works on, L of them."""
    blocks: list[Any] = list(blocks_of(model))
    return tuple(block.input_resolution for block in blocks)


def as_patches(embedded: Tensor) -> Tensor:
    """What the patch embedding gives, a map (B, h, w, D), as patches row by row, (B, N, D)."""
    return embedded.flatten(1, 2)


def views_of(model: SwinTransformer, *, passes: bool = False, in_windows: bool = False) -> tuple[View, ...]:
    """How the maps of each block lie, L of them.

    Args:
        model: Dense, or with compact layers.
        passes: Of no effect: there are no prefix tokens.
        in_windows: Convolutions stay inside shifted windows, as in the release's search form.
    """
    blocks: list[Any] = list(blocks_of(model))
    if in_windows:
        return tuple(MapView(block.input_resolution, block.window_size, block.shift_size) for block in blocks)
    return tuple(MapView(block.input_resolution) for block in blocks)


def embed(model: SwinTransformer, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) to the first stage's map (B, h, w, D).

    Raises:
        InputError: If the images are not of the model's size.
    """
    check_size(images, cast(Any, model.patch_embed).img_size)
    return model.patch_embed(images)


def merge_package(stage: Any, package: Tensor) -> Tensor:
    """A package (B, D) through the patch merging before a stage, (B, 2 D), as four patches alike."""
    merging = stage.downsample
    return merging.reduction(merging.norm(package.repeat(1, 4)))


def classify(model: SwinTransformer, maps: Tensor) -> Tensor:
    """The last stage's map (B, h, w, D) to logits (B, C)."""
    return model.forward_head(model.norm(maps))


def attended(block: Any, x: Tensor, policy: Tensor | None = None) -> Tensor:
    """How much the tokens of its window look at each, mean over heads, (B, T); see `core.families.base`.

    The mean over all tokens of an image as queries. There is no class token: what the others look at stands for what
    the answer looks at. Patches come first here, and the package behind them, if there is one.
    """
    return masked_look(block, block.norm1(x), policy)


def walk(model: SwinTransformer, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Args:
        model: Whose patch embedding, merging, last norm and classifier run.
        images: Normalised.
        step: Number of the block from 0, the block, and its input (B, h, w, D) to its output.

    Raises:
        InputError: If the images are not of the model's size.
    """
    x, index = embed(model, images), 0
    for stage in stages_of(model):
        x = stage.downsample(x)
        for block in stage.blocks:
            x, index = step(index, block, x), index + 1
    return model.forward_head(model.norm(x))


def look(model: SwinTransformer, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The dense forward, and where its tokens look.

    Returns:
        Logits (B, C), normalised patches of the last stage (B, N, D), and per block the attention on the patches of
        that block's own grid, (B, N), L of them; see `attended`.
    """
    attention, ends = [], []

    def step(index: int, block: PreNorm, x: Tensor) -> Tensor:
        attention.append(attended(block, x.flatten(1, 2)))
        ends.append(block(x))
        return ends[-1]

    logits = walk(model, images, step)
    return logits, model.norm(ends[-1]).flatten(1, 2), attention
