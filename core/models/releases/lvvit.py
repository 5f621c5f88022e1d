"""LV-ViT checkpoints in the layout of their release: what their shapes tell.

Jiang et al. 2021, arXiv:2104.10858; github.com/zihangJiang/TokenLabeling. Keys are timm's for a ViT; the stem is
`patch_embed.{conv,bn}{1,2,3}` and `patch_embed.proj`, the head on every patch `aux_head`.
"""

from pathlib import Path

from torch import Tensor

from core.costs.lvvit import LVVIT, SHRINK, LvvitGeometry
from core.errors import InputError
from core.families import lvvit
from core.models.cards import ModelCard
from core.models.file_kinds import shown
from core.models.releases.plain import HEAD_WIDTH, check_head, depth_of, released_classes
from core.models.releases.told import NOTHING, Told
from core.models.weights import check_room, load_weights

DAMAGED = (KeyError, ValueError, ZeroDivisionError, IndexError, AttributeError, TypeError)
"""What reading shapes that are not there may raise."""


def is_lvvit(state: dict[str, Tensor]) -> bool:
    """Whether these weights have LV-ViT's stem."""
    return "patch_embed.conv1.weight" in state


def lvvit_geometry(state: dict[str, Tensor], path: Path, *, heads: int | None = None) -> LvvitGeometry:
    """The geometry of LV-ViT weights, told by their shapes.

    Two things have no shape: the number of heads, and what residual branches are divided by. A model of the release
    is known by its width and depth; any other is read with heads of about 64 channels, and 2.

    Args:
        state: Weights under the release's names.
        path: For the error.
        heads: H where something tells it.

    Raises:
        InputError: If keys are missing, or the shapes fit no LV-ViT.
    """
    try:
        width, stem_channels, side, _ = state["patch_embed.proj.weight"].shape
        grid = round((state["pos_embed"].shape[1] - 1) ** 0.5)
        depth = depth_of(state)
        known = next((g for g in LVVIT.values() if (g.width, g.depth) == (width, depth)), None)
        geometry = LvvitGeometry(
            img_size=grid * side * SHRINK,
            patch=side * SHRINK,
            width=width,
            depth=depth,
            heads=heads or (known.heads if known else max(1, round(width / HEAD_WIDTH))),
            ffn_hidden=state["blocks.0.mlp.fc1.weight"].shape[0],
            classes=state["head.weight"].shape[0],
            stem_channels=stem_channels,
            residual=known.residual if known else LvvitGeometry.residual,
            qkv_bias="blocks.0.attn.qkv.bias" in state,
            aux_head="aux_head.weight" in state,
        )
    except DAMAGED as error:
        raise InputError(
            f"{shown(path)} has the stem of an LV-ViT, but not the other weights of its release."
        ) from error
    if geometry.patches + 1 != state["pos_embed"].shape[1]:
        raise InputError(f"{shown(path)} has {state['pos_embed'].shape[1]} positions, which is no square grid.")
    return geometry


def read_lvvit(state: dict[str, Tensor], path: Path, told: Told = NOTHING) -> tuple[lvvit.LVViT, ModelCard]:
    """The dense model of such a file.

    Raises:
        InputError: See `lvvit_geometry`.
    """
    check_head(state, path)
    geometry = lvvit_geometry(state, path, heads=None if told.heads is None else told.heads[0])
    check_room(geometry, state, path)
    model = lvvit.build(geometry)
    load_weights(model, state, path, "of an LV-ViT")
    classes, norm = released_classes(geometry.classes), lvvit.normalisation(geometry)
    return model, ModelCard(lvvit.FAMILY, geometry, classes, norm, notes=guesses(geometry, told))


def guesses(geometry: LvvitGeometry, told: Told) -> tuple[str, ...]:
    """What the shapes of an LV-ViT do not tell and how it is taken; nothing of a model of the release."""
    if any((known.width, known.depth) == (geometry.width, geometry.depth) for known in LVVIT.values()):
        return ()
    heads = "" if told.heads else f"{geometry.heads} attention heads, and "
    return (
        f"This is no LV-ViT of the release, and the file does not say all of it; read with {heads}residual branches "
        f"divided by {geometry.residual:g}. If its heads are others, name their number with --heads.",
    )
