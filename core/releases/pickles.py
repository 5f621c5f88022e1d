"""Checkpoints that torch.save wrote, read without running code."""

import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from core.errors import InputError

SETTINGS = (SimpleNamespace, "argparse.Namespace")
"""The flags that training scripts store beside the weights; read as plain values."""
CONFIG = (OrderedDict, "yacs.config.CfgNode")
"""The same of Swin's training scripts."""

HOLDERS = ("model", "state_dict")
"""Under which training scripts store the weights."""
WRAPPED = "module."


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The weights that torch.save wrote, in single precision.

    As `{"model": state_dict}`, as `{"state_dict": ...}` (timm's training script), or as a bare state_dict; a `module.`
    in front of all names, which training on many devices leaves there, is taken off.

    Raises:
        InputError: If the file is missing, damaged, would run code when opened, holds no weights, or holds NaN.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; `python -m core models` lists what can be loaded.")
    try:
        with torch.serialization.safe_globals([SETTINGS, CONFIG]):
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not path.read_bytes()[:2].startswith((b"PK", b"\x80")):
            raise InputError(f"{path} is no checkpoint; give a file that torch.save or Prunescope wrote.") from error
        raise InputError(
            f"{path} holds more than weights and could run code, so it was not opened; ask for safetensors."
        ) from error
    except Exception as error:  # on damaged files torch.load raises nearly anything
        raise InputError(f"{path} is damaged or no checkpoint; copy or save it again.") from error
    state = None
    if isinstance(raw, dict):
        state = next((raw[key] for key in HOLDERS if isinstance(raw.get(key), dict)), raw)
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise InputError(f"{path} holds no state_dict; save the model's weights alone.")
    if all(key.startswith(WRAPPED) for key in state):
        state = {key.removeprefix(WRAPPED): value for key, value in state.items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(f"{path} holds weights that are no numbers ({bad[0]}); take an earlier checkpoint.")
    return state
