"""ViTs that answer from the mean of their patches (timm's vit_*_gap_*), with or without register tokens.

LayerScale is folded into the layers before it when weights are read, so a block is a plain one.
"""

from collections.abc import Sequence

import torch
from timm.layers import Attention, Mlp, resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from core.costs.gap import GapGeometry
from core.families import deit
from core.families.base import NO_HEAD, OWN_HEAD, Backbones, Layout, Left
from core.families.block import PreNorm, scores
from core.families.timm_models import create, refused, sides, take_classes
from core.families.views import Step

FAMILY = "gap"
METHODS = ("tokens", "singlepath")
WHY_NOT = None
BASELINES = False
NO_ROLLOUT = "has no class token to roll out; choose another attribution"
NAMES = "a vit_*_gap_* with standard blocks"
TAKEN = (
    Backbones("ViT without a class token, with and without registers", "`vit_*_gap_*`", OWN_HEAD),
    Backbones("SigLIP's tower that answers from a mean", "`vit_*_siglip_gap_*`", NO_HEAD),
)
OWN_NAMES = ()
GEOMETRY = GapGeometry
LAYOUT: Layout = "flat"
SEARCH = deit.SEARCH
EPS = 1e-6
"""Of timm's layer norms; a model with another, or with another activation, would be built as a different function."""
SCALES = (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2"))
"""Factors per channel behind a layer (LayerScale), and that layer."""

normalisation_of = deit.normalisation_of
embed = deit.embed
stages_of = deit.stages_of
blocks_of = deit.blocks_of
grids_of = deit.grids_of
as_patches = deit.as_patches
views_of = deit.views_of


class GapViT(VisionTransformer):
    """timm's model of this kind, by a class of its own, which tells the family; images (B, 3, H, W) to (B, C)."""

    def __init__(self, geometry: GapGeometry, drop_path: float = 0.0) -> None:
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
            global_pool="avg",
            fc_norm=not geometry.norm_first,
            drop_path_rate=drop_path,
        )


BACKBONE = GapViT


def geometry_from(raw: dict) -> GapGeometry:
    """A geometry as JSON holds it."""
    return GapGeometry(**raw)


def first_words(geometry: GapGeometry) -> str:
    """Its register tokens."""
    count = geometry.prefix_tokens
    return "" if count == 0 else "one register token" if count == 1 else f"{count} register tokens"


def cost_aside(geometry: GapGeometry) -> None:
    """Nothing is to be said of its MACs besides."""


def claims(name: str) -> bool:
    """Whether one of timm's names is of this family."""
    return name.startswith("vit_") and "_gap_" in name


def build(geometry: GapGeometry, *, drop_path: float = 0.0) -> GapViT:
    """A model of this geometry with fresh weights, in training mode.

    Args:
        geometry: What to build.
        drop_path: Highest stochastic-depth rate, in [0, 1); it rises linearly over the blocks.
    """
    return GapViT(geometry, drop_path)


def from_timm(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> GapViT:
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
        model.load_state_dict(folded(found.state_dict()))
    return model


def _plain(model: VisionTransformer) -> bool:
    blocks = blocks_of(model)
    return (
        not model.has_class_token
        and model.global_pool == "avg"
        and model.num_classes > 0
        and isinstance(model.norm_pre, nn.Identity)
        and isinstance(model.norm, nn.Identity) != isinstance(model.fc_norm, nn.Identity)
        and all(type(b) is Block and type(b.attn) is Attention and type(b.mlp) is Mlp for b in blocks)
        and all(type(b.mlp.act) is nn.GELU and b.norm1.eps == EPS for b in blocks)
        and all(b.attn.gate is None and isinstance(b.attn.norm, nn.Identity) for b in blocks)
        and all(isinstance(part, nn.Identity) for b in blocks for part in (b.attn.q_norm, b.mlp.norm))
    )


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same function without LayerScale, whose factors go into the layers before it, and with biases all through."""
    found = dict(state)
    for key, weight in state.items():
        bias = key.removesuffix("weight") + "bias"
        if key.endswith("attn.qkv.weight") and bias not in state:
            found[bias] = weight.new_zeros(len(weight))
    for key, gamma in state.items():
        for scale, layer in SCALES:
            if key.endswith(f".{scale}"):
                start = key.removesuffix(scale) + layer
                found[f"{start}.weight"] = found[f"{start}.weight"] * gamma[:, None]
                found[f"{start}.bias"] = found[f"{start}.bias"] * gamma
                del found[key]
    return found


def geometry_of(model: VisionTransformer, timm_name: str | None = None) -> GapGeometry:
    """The geometry of a model of this kind, read from its modules."""
    first = blocks_of(model)[0]
    img_size, patch = sides(model.patch_embed)
    return GapGeometry(
        img_size=img_size,
        patch=patch,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=first.attn.num_heads,
        ffn_hidden=first.mlp.fc1.out_features,
        classes=model.num_classes,
        prefix_tokens=model.num_prefix_tokens,
        norm_first=isinstance(model.fc_norm, nn.Identity),
        timm=timm_name,
    )


def take_over(model: GapViT, before: GapViT, classes: Sequence[int | None]) -> None:
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


def classify(model: GapViT, tokens: Tensor, left: Left) -> Tensor:
    """Logits (B, C) from the mean over patches and packages, each as often as it stands for patches.

    Args:
        model: In evaluation mode.
        tokens: After the last block, (B, T, D); registers give no answer.
        left: See `core.families.base.Left`.
    """
    alive = left()
    counts = list(alive.counts)
    normed = model.norm(alive.patches)
    if len(set(counts)) == 1:
        total = normed.unflatten(0, (len(counts), counts[0])).sum(dim=1)
    else:
        total = torch.stack([part.sum(dim=0) for part in normed.split(counts)])
    return _answer(model, total, torch.tensor(counts, device=tokens.device), model.norm(alive.packages), alive.stands)


def classify_masked(model: GapViT, normed: Tensor, alive: Tensor, stands: Tensor) -> Tensor:
    """The same with nothing removed: tokens (B, P + N + S, D), alive (B, N) where above 0, stands (B, S)."""
    first = model.num_prefix_tokens
    patches, packages = normed[:, first:].split([alive.shape[1], stands.shape[1]], dim=1)
    there = (alive > 0).to(normed.dtype)
    return _answer(model, (there[..., None] * patches).sum(dim=1), there.sum(dim=1), packages, stands)


def _answer(model: GapViT, total: Tensor, count: Tensor, packages: Tensor, stands: Tensor) -> Tensor:
    """Logits of the sum of the patches (B, D), their number (B,), packages (B, S, D) and what these stand for."""
    weight = stands.to(total.dtype)
    total = total + (weight[..., None] * packages).sum(dim=1)
    mean = total / (count.to(total.dtype) + weight.sum(dim=1)).clamp(min=1)[:, None]
    return model.head(model.head_drop(model.fc_norm(mean)))


def attended(block: PreNorm, x: Tensor, policy: Tensor | None = None) -> Tensor:
    """How much all tokens together look at each, mean over heads and tokens, (B, T); see `core.families.base`."""
    attn, rows = block.attn, 2 * x.shape[-1]  # no values
    projected = functional.linear(block.norm1(x), attn.qkv.weight[:rows], attn.qkv.bias[:rows])
    q, k = projected.unflatten(-1, (2, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
    found = scores(q, k, attn.scale).float()  # (B, H, T, T)
    if policy is None:
        return found.softmax(dim=-1).mean(dim=(1, 2))
    look = found.masked_fill(policy[:, None, None] == 0, -torch.inf).softmax(dim=-1).mean(dim=1)
    return (policy[..., None] * look).sum(dim=1) / policy.sum(dim=1, keepdim=True)


def walk(model: GapViT, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Raises:
        InputError: If the images are not of the model's size.
    """
    x = embed(model, images)
    for index, block in enumerate(blocks_of(model)):
        x = step(index, block, x)
    return model.forward_head(model.norm(x))
