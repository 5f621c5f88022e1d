"""Plain DeiT weights, class-token or distilled: what their shapes tell."""

from pathlib import Path

from timm.data import ImageNetInfo
from torch import Tensor

from core.cards import class_names
from core.config import Normalisation
from core.deit_counts import DeitGeometry
from core.errors import InputError
from core.geometry import Geometry
from core.results import ClassName

NORMALISATION = Normalisation(crop_pct=0.875)
"""Of DeiT's photos."""
HEAD_WIDTH = 64
"""Channels per head of every DeiT."""


def deit_geometry(
    state: dict[str, Tensor], path: Path, *, heads: int | None = None, ffn_hidden: int | None = None
) -> Geometry:
    """The geometry of DeiT weights, told by their shapes.

    Args:
        state: Weights under timm's names.
        path: For the error.
        heads: H where something tells it; None: heads of 64 channels, as every DeiT has.
        ffn_hidden: F of the dense model; None: that of the first block.

    Raises:
        InputError: If the keys are not timm's for a DeiT, or the shapes fit none.
    """
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        prefix = 2 if "dist_token" in state else 1
        side = round((state["pos_embed"].shape[1] - prefix) ** 0.5)
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        geometry = DeitGeometry(
            img_size=side * patch,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads or width // HEAD_WIDTH,
            ffn_hidden=ffn_hidden or state["blocks.0.mlp.fc1.weight"].shape[0],
            classes=state["head.weight"].shape[0],
            prefix_tokens=prefix,
            distilled=prefix == 2,
        )
    except (KeyError, ValueError, ZeroDivisionError, IndexError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} holds no DeiT weights in timm's layout, which is what is read from such files."
        ) from error
    if geometry.patches + prefix != state["pos_embed"].shape[1]:
        raise InputError(f"{path} has {state['pos_embed'].shape[1]} positions, which is no square grid.")
    return geometry


def released_classes(count: int) -> tuple[ClassName, ...]:
    """ImageNet's classes for 1,000, else numbered ones."""
    if count == 1000:
        return class_names(ImageNetInfo("imagenet-1k").label_names())
    return tuple(ClassName(None, f"class {i}") for i in range(count))
