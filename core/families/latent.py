"""ViTs that answer from an attention pooling: a learned query looks at the patches behind the last block (SigLIP).

LayerScale is folded into the layers before it when weights are read, so a block is a plain one.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.layers import GELU, Attention, AttentionPoolLatent, GELUTanh, Mlp, resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from core.costs.latent import LatentGeometry
from core.families import deit, gap
from core.families.base import NO_HEAD, Backbones, Layout, Left
from core.families.timm_models import create, refused, sides, take_classes
from core.families.views import Step

FAMILY = "latent"
METHODS = ("tokens", "singlepath")
WHY_NOT = None
BASELINES = False
NO_ROLLOUT = gap.NO_ROLLOUT
NAMES = "a vit_*_siglip_* with standard blocks"
TAKEN = (Backbones("SigLIP's tower, answering from an attention pooling", "`vit_*_siglip_*`", NO_HEAD),)
OWN_NAMES = ()
GEOMETRY = LatentGeometry
LAYOUT: Layout = "flat"
SEARCH = deit.SEARCH
normalisation_of = deit.normalisation_of
embed = deit.embed
stages_of = deit.stages_of
blocks_of = deit.blocks_of
grids_of = deit.grids_of
as_patches = deit.as_patches
views_of = deit.views_of
attended = gap.attended
first_words = gap.first_words


class LatentViT(VisionTransformer):
    """timm's model of this kind, by a class of its own, which tells the family; images (B, 3, H, W) to (B, C)."""

    def __init__(self, geometry: LatentGeometry, drop_path: float = 0.0) -> None:
        """Fresh weights; the arguments as in `build`."""
        super().__init__(
            img_size=geometry.img_size,
            patch_size=geometry.patch,
            num_classes=geometry.classes,
            embed_dim=geometry.width,
            depth=geometry.depth,
            num_heads=geometry.heads,
            mlp_ratio=(geometry.ffn_hidden + 0.5) / geometry.width,  # timm cuts the product off to a whole number
            class_token=False,
            reg_tokens=geometry.prefix_tokens,
            no_embed_class=True,
            global_pool="map",
            act_layer=GELUTanh if geometry.activation == "gelu_tanh" else nn.GELU,
            drop_path_rate=drop_path,
        )


BACKBONE = LatentViT


def geometry_from(raw: dict) -> LatentGeometry:
    """A geometry as JSON holds it."""
    return LatentGeometry(**raw)


def cost_aside(geometry: LatentGeometry) -> None:
    """Nothing is to be said of its MACs besides."""


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family."""
    return name.startswith("vit_") and "_siglip_" in name and not gap.claims(name)


def build(geometry: LatentGeometry, *, drop_path: float = 0.0) -> LatentViT:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.
    """
    return LatentViT(geometry, drop_path)


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> LatentViT:
    """A model of timm by name, in training mode; the arguments as in `core.families.timm_models.create`.

    Raises:
        InputError: If its weights are unavailable, or it is none that can be pruned.
    """
    found = create(name, classes=classes, pretrained=pretrained, img_size=img_size)
    if not isinstance(found, VisionTransformer) or not _plain(found):
        raise refused(found, name, NAMES)
    model = build(geometry_of(found, name))
    model.pretrained_cfg = found.pretrained_cfg
    if pretrained:
        model.load_state_dict(gap.folded(found.state_dict()))
    return model


def _plain(model: VisionTransformer) -> bool:
    blocks, pool = blocks_of(model), pool_of(model)
    return (
        not model.has_class_token
        and type(pool) is AttentionPoolLatent
        and not model.pool_include_prefix
        and model.num_classes > 0
        and pool.latent_len == 1
        and pool.pos_embed is None
        and pool.num_heads == blocks[0].attn.num_heads
        and isinstance(pool.q_norm, nn.Identity)
        and isinstance(model.norm_pre, nn.Identity)
        and isinstance(model.fc_norm, nn.Identity)
        and not isinstance(model.norm, nn.Identity)
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in blocks)
        and all(b.norm1.eps == gap.EPS for b in blocks)
        and {_activation(mlp) for mlp in (cast(Mlp, pool.mlp), *(b.mlp for b in blocks))} in ({"gelu"}, {"gelu_tanh"})
        and cast(Tensor, model.pos_embed).shape[1] == model.patch_embed.num_patches
        and all(b.attn.gate is None and isinstance(b.attn.norm, nn.Identity) for b in blocks)
        and all(isinstance(part, nn.Identity) for b in blocks for part in (b.attn.q_norm, b.mlp.norm))
    )


def _activation(mlp: Mlp) -> str | None:
    """timm's name of an FFN's activation; None: another than a geometry has."""
    if type(mlp.act) is GELUTanh:
        return "gelu_tanh"
    return "gelu" if (type(mlp.act) is nn.GELU and mlp.act.approximate == "none") or type(mlp.act) is GELU else None


def geometry_of(model: VisionTransformer, timm_name: str | None = None) -> LatentGeometry:
    """The geometry of a model of this kind, read from its modules."""
    first = blocks_of(model)[0]
    img_size, patch = sides(model.patch_embed)
    return LatentGeometry(
        img_size=img_size,
        patch=patch,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=first.attn.num_heads,
        ffn_hidden=pool_of(model).mlp.fc1.out_features,  # blocks may have become narrower
        classes=model.num_classes,
        prefix_tokens=model.num_prefix_tokens,
        activation=_activation(first.mlp) or "",
        timm=timm_name,
    )


def pool_of(model: VisionTransformer) -> Any:
    """The attention that answers; timm's type allows for none."""
    return model.attn_pool


def take_over(model: LatentViT, before: LatentViT, classes: Sequence[int | None]) -> None:
    """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

    Positions, which patches alone have, are resampled to the new grid (timm's bicubic `resample_abs_pos_embed`).

    Args:
        model: To be trained further.
        before: Trained.
        classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
    """
    state = before.state_dict()
    grid = list(model.patch_embed.grid_size)
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=0)
    take_classes(model, state, classes)
    model.load_state_dict(state)


def classify(model: LatentViT, tokens: Tensor, left: Left) -> Tensor:
    """Logits (B, C) from a look at patches and packages, each as often as it stands for patches.

    Args:
        model: In evaluation mode.
        tokens: After the last block, (B, T, D); registers give no answer.
        left: See `core.families.base.Left`.
    """
    alive = left()
    counts = list(alive.counts)
    if len(set(counts)) == 1:
        patches = alive.patches.unflatten(0, (len(counts), counts[0]))
        there = patches.new_ones(patches.shape[:2])
    else:
        parts = list(alive.patches.split(counts))
        patches = nn.utils.rnn.pad_sequence(parts, batch_first=True)  # (B, N', D)
        place = torch.arange(patches.shape[1], device=tokens.device)
        there = (place < torch.tensor(counts, device=tokens.device)[:, None]).to(patches.dtype)
    return _answer(model, model.norm(torch.cat((patches, alive.packages), dim=1)), there, alive.stands)


def classify_masked(model: LatentViT, normed: Tensor, alive: Tensor, stands: Tensor) -> Tensor:
    """The same with nothing removed: tokens (B, P + N + S, D), alive (B, N) where above 0, stands (B, S)."""
    return _answer(model, normed[:, model.num_prefix_tokens :], (alive > 0).to(normed.dtype), stands)


def _answer(model: LatentViT, normed: Tensor, there: Tensor, stands: Tensor) -> Tensor:
    """Logits of normalised patches and packages (B, N' + S, D), there (B, N') 1 or 0, and what packages stand for.

    A token that stands for s patches is s equal keys: its score gets log s, as in arXiv:2210.09461 (ToMe). Where an
    image has none at all, all count alike.
    """
    count = torch.cat((there, stands.to(there.dtype)), dim=1)  # (B, N' + S)
    count = torch.where((count > 0).any(dim=1, keepdim=True), count, 1.0)
    return model.head(model.head_drop(pool_of(model)(normed, attn_mask=count.log()[:, None, None])))


def walk(model: LatentViT, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Raises:
        InputError: If the images are not of the model's size.
    """
    x = embed(model, images)
    for index, block in enumerate(blocks_of(model)):
        x = step(index, block, x)
    return model.forward_head(model.norm(x))
