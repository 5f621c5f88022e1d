"""The weights in a file of others, and what lies beside them: which holder, which prefix, which of two sets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import InputError, printable
from core.models.file_kinds import kind_of, shown
from core.models.releases.pickles import read_pickle

AVERAGED = ("state_dict_ema", "model_ema")
"""Under which training scripts store the moving average of the weights; timm's loading takes it first, and so do we."""
HOLDERS = (
    "",
    "state_dict",
    "model",
    "model_state_dict",
    "module",
    "model_state",
    "net",
    "network",
    "weights",
    "teacher",
)
"""Under which they store the weights, the first one that is there counts; "": at the file's top."""
DEEPEST = 3
"""Dictionaries in dictionaries that are looked into."""
ANCHORS = ("patch_embed.proj.weight", "patch_embed.conv.weight")
"""A weight that every model which can be read here has: what stands before it stands before all the others."""
WRAPPERS = ("module.", "_orig_mod.")
"""What training on many devices, or compiling, puts in front of all names."""
SLACK = 1 << 20
"""Bytes by which tensors may be more than their file, for what is stored once and used twice."""
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Contents:
    """A weights file of others, opened."""

    path: Path
    state: State
    """Weights in single precision, without what stood before all their names."""
    beside: dict
    """Whatever else the file holds: settings, epoch, metric; plain values, not to be trusted."""
    notes: tuple[str, ...]
    """What was chosen or left out, each a sentence."""


def open_contents(path: Path) -> Contents:
    """Open a weights file of others, pickled or safetensors, as its content says.

    Raises:
        InputError: If the file is missing, damaged, would run code when opened, holds no weights or several models, or
            holds NaN.
    """
    raw, beside = _read(path)
    found = {".".join(at): state for at, state in _states(raw)}
    if not found:
        raise InputError(f"{shown(path)} holds no state_dict; save the model's weights alone.")
    holder, notes = _choose(found, path)
    state, left_out = _unwrapped(found[holder], path)
    if left_out:
        rest = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        notes += (f"Left out what lies beside the model: {printable(left_out[0], 60)}{rest}.",)
    _check_memory(state, path)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(
            f"{shown(path)} holds weights that are no numbers ({printable(bad[0], 60)}); take an earlier checkpoint."
        )
    return Contents(path, state, beside, notes)


def _read(path: Path) -> tuple[dict, dict]:
    """All that is in a file, and the part of it that may be settings."""
    if kind_of(path) == "torch":
        raw = read_pickle(path)
        if not isinstance(raw, dict):
            raise InputError(f"{shown(path)} holds no state_dict; save the model's weights alone.")
        return raw, {key: value for key, value in raw.items() if isinstance(key, str) and not isinstance(value, Tensor)}
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except UnicodeEncodeError as error:
        raise InputError(f"{shown(path)} has a name that is no UTF-8; rename the file.") from error
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{shown(path)} is damaged or no safetensors file; copy or save it again.") from error


def _states(raw: dict, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every dictionary of tensors in a dictionary, with the keys that lead to it, outer ones first."""
    tensors = {key: value for key, value in raw.items() if isinstance(value, Tensor)}
    plain = all(isinstance(key, str) for key in tensors)
    if tensors and plain and (len(tensors) == len(raw) or any(key.endswith(ANCHORS) for key in tensors)):
        yield at, tensors
    if len(at) < DEEPEST:
        for key, value in raw.items():
            if isinstance(value, dict):
                yield from _states(value, (*at, str(key)))


def _choose(found: dict[str, State], path: Path) -> tuple[str, tuple[str, ...]]:
    """Which of several dictionaries of tensors is the model, and what is to be said of that choice.

    Raises:
        InputError: If there are several models, none of them under a usual name.
    """
    models = {at: state for at, state in found.items() if any(key.endswith(ANCHORS) for key in state)} or found
    averaged = [at for at in models if at in AVERAGED] or [
        at for at in models if "ema" in at.lower().split(".")[0].split("_")
    ]
    usual = [at for at in HOLDERS if at in models]
    if averaged:
        averaged.sort(key=lambda at: AVERAGED.index(at) if at in AVERAGED else len(AVERAGED))
        others = [at or "its top" for at in models if at != averaged[0]]
        said = f"Read the moving average of the weights ({printable(averaged[0], 40)}), as timm does"
        return averaged[0], (f"{said}; {printable(others[0], 40)} was left." if others else f"{said}.",)
    if "teacher" in models and "student" in models:
        return "teacher", ("Read the teacher, the moving average of self-distillation; student was left.",)
    if usual:
        return usual[0], ()
    if len(models) > 1:
        several = ", ".join(printable(at, 40) for at in list(models)[:3])
        raise InputError(f"{shown(path)} holds {len(models)} models ({several}); save one model's state_dict alone.")
    return next(iter(models)), ()


def _unwrapped(state: State, path: Path) -> tuple[State, list[str]]:
    """The weights without what stands before all their names, and the names of tensors that do not belong to them.

    Raises:
        InputError: If there are several models.
    """
    starts = {key[: -len(anchor)] for key in state for anchor in ANCHORS if key.endswith(anchor)}
    starts = {start for start in starts if not start or start.endswith(".")}
    averaged = {start for start in starts if "ema" in start.replace(".", "_").split("_")}
    preferred = averaged or {start for start in starts if "teacher" in start} or starts
    if len(preferred) > 1:
        several = ", ".join(printable(start, 40) for start in sorted(preferred)[:3])
        raise InputError(f"{shown(path)} holds several models ({several}); save one model's state_dict alone.")
    for start in preferred:
        inside = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
        return inside, [key for key in state if not key.startswith(start)]
    while state and any(all(key.startswith(start) for key in state) for start in WRAPPERS):
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state, []


def _check_memory(state: State, path: Path) -> None:
    """Refuse tensors that are none of plain numbers, or that claim more numbers than the file has room for.

    Raises:
        InputError: If there are any.
    """
    held: dict[int, int] = {}
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
            raise InputError(
                f"{shown(path)} holds {printable(key, 60)} in a form that is not read here (sparse, quantised or "
                "complex); save plain weights."
            )
        storage = value.untyped_storage()
        held[storage.data_ptr()] = max(held.get(storage.data_ptr(), 0), storage.nbytes())
        if value.numel() * value.element_size() > storage.nbytes():
            raise InputError(f"{shown(path)} is damaged: {printable(key, 60)} has more numbers than are stored.")
    if sum(held.values()) > path.stat().st_size + SLACK:
        raise InputError(f"{shown(path)} is damaged: it declares more weights than it has bytes; save it again.")


def settings(contents: Contents) -> list[dict]:
    """Every dictionary of settings beside the weights, the likeliest first, then those in them; keys as text."""
    names = ("args", "config", "cfg", "hyper_parameters", "hparams", "model_args", "model_kwargs", "pretrained_cfg")
    top = [contents.beside.get(name) for name in names]
    found = [plain for plain in (*map(as_dict, top), as_dict(contents.beside)) if plain]
    inner = [as_dict(value) for plain in found for value in plain.values() if not _is_weights(value)]
    deeper = [as_dict(value) for plain in inner for value in plain.values()]
    return [plain for plain in (*found, *inner, *deeper) if plain]


def as_dict(value: object) -> dict[str, object]:
    """Settings as a dictionary: from a namespace, a dictionary, or JSON text; empty for anything else."""
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, str) and value[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, dict):
        return {}
    return {key: inner for key, inner in value.items() if isinstance(key, str)}


def _is_weights(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, Tensor) for inner in value.values())
