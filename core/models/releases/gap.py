"""Dense weights of ViTs that answer from the mean of their patches, in timm's layout: what their shapes tell."""

from math import isqrt
from pathlib import Path

from torch import Tensor, nn

from core.config import Normalisation
from core.costs.gap import GapGeometry
from core.errors import InputError
from core.families import gap
from core.models.cards import DAMAGED, ModelCard
from core.models.file_kinds import shown
from core.models.releases.plain import check_head, check_size_told, depth_of, heads_of_flat, released_classes
from core.models.releases.told import Told
from core.models.weights import check_room, load_weights

NORMALISATION = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_pct=0.95)
"""Of most of timm's models of this kind."""
NOT_OURS = ("attn_pool.", "norm_pre.", "attn.q_norm.", "mlp.w12", "mlp.fc1_g", "rope", "attn.rel_pos_h", "q_bias")
"""Parts of names that such a model does not have; who has them is told why by `core.models.releases.plain`."""


def is_gap(state: dict[str, Tensor]) -> bool:
    """Whether these weights are of a flat ViT without a class token that this family takes."""
    return (
        "cls_token" not in state
        and {"patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight"} <= state.keys()
        and ("fc_norm.weight" in state) != ("norm.weight" in state)
        and not any(part in key for key in state for part in NOT_OURS)
    )


def read_gap(state: dict[str, Tensor], path: Path, told: Told) -> tuple[nn.Module, ModelCard]:
    """The dense model of such a file; LayerScale is folded into the layers before it, exactly.

    Raises:
        InputError: If weights are missing, too many or of other shapes, or heads do not divide the width.
    """
    check_head(state, path)
    heads, notes = heads_of_flat(state, path, told)
    try:
        state = gap.folded(state)
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        count = state["pos_embed"].shape[1]
        geometry = GapGeometry(
            img_size=isqrt(count) * patch,
            patch=patch,
            width=width,
            depth=depth_of(state),
            heads=heads,
            ffn_hidden=state["blocks.0.mlp.fc1.weight"].shape[0],
            classes=state["head.weight"].shape[0],
            prefix_tokens=state["reg_token"].shape[1] if "reg_token" in state else 0,
            norm_first="norm.weight" in state,
        )
    except (*DAMAGED, RuntimeError) as error:
        raise InputError(
            f"{shown(path)} lacks weights of a ViT in timm's layout, or their shapes do not fit together."
        ) from error
    if geometry.patches != count:
        raise InputError(
            f"{shown(path)} has positions for {count} patches, which is no square grid; only square inputs are read."
        )
    check_size_told(geometry, told, path)
    check_room(geometry, state, path)
    model = gap.build(geometry)
    load_weights(model, state, path, "of a ViT without a class token as timm builds it")
    return model, ModelCard(gap.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION, notes=notes)
