"""Other people's checkpoint files: plain DeiT weights in pickles, which are read without running code."""

import pickle
from pathlib import Path

import torch
from timm.data import ImageNetInfo
from torch import Tensor

from core.cards import class_names
from core.config import Geometry
from core.errors import InputError
from core.results import ClassName

HEAD_WIDTH = 64
"""Channels per head of every DeiT."""


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The weights that torch.save wrote as `{"model": state_dict}` or as a bare state_dict, in single precision.

    Raises:
        InputError: If the file is missing, damaged, would run code when opened, holds no weights, or holds NaN.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; `python -m core models` lists what can be loaded.")
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not path.read_bytes()[:2].startswith((b"PK", b"\x80")):
            raise InputError(f"{path} is no checkpoint; give a file that torch.save or Prunescope wrote.") from error
        raise InputError(
            f"{path} holds more than weights and could run code, so it was not opened; ask for safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged or no checkpoint; copy or save it again.") from error
    state = raw.get("model", raw) if isinstance(raw, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state_dict; save the model's weights alone.")
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(f"{path} holds weights that are no numbers ({bad[0]}); take an earlier checkpoint.")
    return state


def deit_geometry(state: dict[str, Tensor], path: Path) -> Geometry:
    """The geometry of plain DeiT weights, told by their shapes.

    Raises:
        InputError: If the keys are not timm's for a DeiT, or the shapes fit none.
    """
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        prefix = 2 if "dist_token" in state else 1
        side = round((state["pos_embed"].shape[1] - prefix) ** 0.5)
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        geometry = Geometry(
            img_size=side * patch,
            patch=patch,
            width=width,
            depth=depth,
            heads=width // HEAD_WIDTH,
            ffn_hidden=state["blocks.0.mlp.fc1.weight"].shape[0],
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
