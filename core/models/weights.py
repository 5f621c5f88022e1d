"""Our own format on disk: safetensors with the weights, and their card in the metadata."""

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.params import count_params
from core.errors import InputError, printable
from core.files import publish
from core.models.cards import (
    DAMAGED,
    MOST_PIXELS,
    BackboneFile,
    ModelCard,
    TeacherCard,
    card_from_json,
    card_to_json,
    check_own_name,
    teacher_from_json,
)
from core.models.file_kinds import kind_of, shown

T = TypeVar("T")
C = TypeVar("C")
CARD_KEY = "prunescope"
CARD_BYTES = 1 << 24
"""Of the longest description that is read."""
COUNTER = "num_batches_tracked"
"""A weight that old files lack, and no answer depends on."""
ROOM, SPARE = 32, 10_000_000
"""A dense model may have this many times the numbers that a (pruned) file holds, and so many more."""
STEM_KERNEL = 3
"""Side of the kernels between two layers of an LV-ViT's stem."""
GATES = ("mixer_logits", "ffn_logits")
"""What the names of gates end in."""
BACKBONE = "backbone."
"""What the names of a backbone's weights begin with in a model with selectors or gates."""


def save_checkpoint(path: Path, module: nn.Module, card: ModelCard | TeacherCard, *, half: bool = True) -> None:
    """Write weights and card, atomically.

    Args:
        path: The file.
        module: Whose weights.
        card: What they are. Where it names a backbone's file, the weights of the backbone are left to that.
        half: Store floats in half precision, but for gates, whose order decides what a budget keeps; else in single.

    Raises:
        InputError: If a weight is not finite in that precision; nothing is written then.
    """
    kind = torch.float16 if half else torch.float32

    def stored(key: str, value: Tensor) -> Tensor:
        exact = torch.float32 if key.endswith(GATES) else kind
        return value.detach().cpu().to(exact if value.is_floating_point() else value.dtype).contiguous()

    elsewhere = isinstance(card, ModelCard) and card.backbone is not None
    state = {
        key: stored(key, value)
        for key, value in module.state_dict().items()
        if not (elsewhere and key.startswith(BACKBONE))
    }
    if any(value.is_floating_point() and not value.isfinite().all() for value in state.values()):
        raise InputError("Some weights are no numbers, or too large for the precision that they are to be stored in.")
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(state, str(temporary), metadata={CARD_KEY: card_to_json(card)})
        publish(temporary, path)
    except (OSError, SafetensorError):  # a full disk keeps no half of it
        temporary.unlink(missing_ok=True)
        raise


def read_card(path: Path) -> ModelCard:
    """The card alone, without reading the weights.

    Raises:
        InputError: If the file is missing, damaged or not ours.
    """
    return _open(path, card_from_json, lambda file, card: card)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], ModelCard]:
    """Weights in single precision, and the card; those of a backbone in another file are read from there.

    Raises:
        InputError: If the file is missing, cut off, not ours, or holds NaN or infinite weights; or if a file that it
            needs beside it is not there or another.
    """
    state, card = _read(path, card_from_json)
    if card.backbone is None:
        return state, card
    dense = _beside(path, card.backbone)
    if file_sha256(dense) != card.backbone.sha256:
        raise InputError(
            f"{shown(path)} holds token selectors for a dense model in {shown(dense)}, which is another file by now "
            f"(its SHA-256 does not begin with {card.backbone.sha256[:12]}); put the one that it was trained on there."
        )
    backbone, _ = _read(dense, card_from_json)
    return {f"{BACKBONE}{key}": value for key, value in backbone.items()} | state, replace(card, backbone=None)


def _beside(path: Path, backbone: BackboneFile) -> Path:
    """The file that holds the backbone.

    Raises:
        InputError: If it is not there.
    """
    found = path.with_name(backbone.name)
    if not found.is_file():
        raise InputError(
            f"{shown(path)} holds token selectors or gates alone; put the dense model that they are for, "
            f"{printable(backbone.name, 60)}, beside it."
        )
    return found


def file_sha256(path: Path) -> str:
    """Of the bytes of a file, as 64 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lay_beside(dense: Path, path: Path) -> BackboneFile:
    """Put a dense file beside a model's own, under its name, so that the model's can leave the backbone to it.

    Args:
        dense: The file; linked where the disk allows it, else copied.
        path: Of the model. Where both have one name, the dense one is called dense.safetensors.

    Raises:
        OSError: If it cannot be written.
    """
    name = dense.name if dense.name != path.name else "dense.safetensors"
    there, temporary = path.with_name(name), path.with_name(f"{name}.tmp")
    if not (there.exists() and file_sha256(there) == file_sha256(dense)):
        temporary.unlink(missing_ok=True)
        try:
            os.link(dense, temporary)
        except OSError:
            shutil.copyfile(dense, temporary)
        os.replace(temporary, there)
    return BackboneFile(name, file_sha256(there))


def read_teacher(path: Path) -> tuple[dict[str, Tensor], TeacherCard | None]:
    """Weights in single precision, and the card if the file holds a teacher.

    Raises:
        InputError: See `read_checkpoint`.
    """
    return _read(path, teacher_from_json)


def _read(path: Path, parse: Callable[[str], T]) -> tuple[dict[str, Tensor], T]:
    state, card = _open(path, parse, lambda file, card: ({key: file.get_tensor(key) for key in file.keys()}, card))  # noqa: SIM118
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(f"{shown(path)} holds weights that are no numbers ({bad[0]}); take an earlier checkpoint.")
    return state, card


def holds_card(path: Path) -> bool:
    """Whether Prunescope wrote the file: it says what it is.

    Raises:
        InputError: If it is missing, damaged, or no weights file.
    """
    return kind_of(path) == "safetensors" and _with_file(path, lambda file: CARD_KEY in (file.metadata() or {}))


def _open(path: Path, parse: Callable[[str], C], read: Callable[[Any, C], T]) -> T:
    """What `read` takes from an open file and its card.

    Raises:
        InputError: If the file is missing, cut off or not ours, or its card contradicts the shapes of its weights.
    """
    if kind_of(path) != "safetensors":
        raise InputError(f"{shown(path)} does not say what model it holds; give a file that Prunescope wrote.")

    def checked(file: Any) -> T:
        text = (file.metadata() or {}).get(CARD_KEY)
        if text is None:
            raise InputError(f"{shown(path)} does not say what model it holds; give a file that Prunescope wrote.")
        if len(text) > CARD_BYTES:
            raise InputError(f"The description inside {shown(path)} is damaged (too long); save the model again.")
        card = parse(text)
        if isinstance(card, ModelCard):
            check_room(card.geometry, _shapes(file) | _shapes_beside(path, card.backbone), path)
            check_named(card.geometry, path)
        return read(file, card)

    return _with_file(path, checked)


def _shapes(file: Any) -> dict[str, list[int]]:
    """Of all weights of an open file."""
    return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118


def _shapes_beside(path: Path, backbone: BackboneFile | None) -> dict[str, list[int]]:
    """The same of the file that holds the backbone, where it is another.

    Raises:
        InputError: If it is not there, or cannot be opened.
    """
    if backbone is None:
        return {}
    shapes = _with_file(_beside(path, backbone), _shapes)
    return {f"{BACKBONE}{key}": shape for key, shape in shapes.items()}


def _with_file(path: Path, read: Callable[[Any], T]) -> T:
    """What `read` takes from an open safetensors file.

    Raises:
        InputError: If it cannot be opened.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            return read(file)
    except UnicodeEncodeError as error:
        raise InputError(f"{shown(path)} has a name that is no UTF-8; rename the file.") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{shown(path)} is damaged or no safetensors file; copy or save it again.") from error


def load_weights(module: nn.Module, state: Mapping[str, Tensor], path: Path, what: str = "that it describes") -> None:
    """Load `state` into `module`, all of it and nothing else.

    Args:
        module: To be filled.
        state: Its weights.
        path: For the error.
        what: Whose weights the file should hold, as the sentence goes on.

    Raises:
        InputError: If names, shapes or kinds of numbers differ.
    """
    own = module.state_dict()
    wrong = [
        _several([key for key in own if key not in state and not key.endswith(COUNTER)], "is missing"),
        _several([key for key in state if key not in own], "is not known there"),
        _several([k for k, v in state.items() if k in own and v.shape != own[k].shape], "has another shape"),
        _several([k for k, v in state.items() if k in own and _other_kind(v, own[k])], "holds whole numbers"),
    ]
    if said := "; ".join(filter(None, wrong)):
        raise InputError(f"{shown(path)} does not hold the weights {what}: {said}.")
    module.load_state_dict(state)


def _several(keys: Sequence[str], wrong: str) -> str:
    """What is wrong with some weights, the first one named; empty where there are none."""
    if not keys:
        return ""
    rest = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{printable(keys[0], 60)} {wrong}{rest}"


def _other_kind(stored: Tensor, own: Tensor) -> bool:
    return own.is_floating_point() and not stored.is_floating_point()


def check_named(geometry: Geometry, path: Path) -> None:
    """Refuse a geometry that names a model of timm's which it is not; see `core.models.cards.check_own_name`.

    Raises:
        InputError: If it does.
    """
    try:
        check_own_name(geometry)
    except DAMAGED as error:
        why = printable(str(error), 120)
        raise InputError(f"The description inside {shown(path)} is damaged ({why}); save the model again.") from error


def check_room(geometry: Geometry, shapes: Mapping[str, Tensor | Sequence[int]], path: Path) -> None:
    """Refuse a geometry of far more numbers than the file holds, before anything of it is built.

    Args:
        geometry: What the file describes, or what its shapes seem to be.
        shapes: Per weight of the file a tensor, or a shape.
        path: For the error.

    Raises:
        InputError: If the dense model needs more than `ROOM` times the file's numbers, and more than `SPARE`.
    """
    held = sum(math.prod(shape.shape if isinstance(shape, Tensor) else shape) for shape in shapes.values())
    most = ROOM * held + SPARE
    if (
        geometry.depth > len(shapes)
        or geometry.img_size > MOST_PIXELS
        or len(getattr(geometry, "stem", ())) > len(shapes)
    ):
        raise InputError(f"{shown(path)} is damaged: it does not hold the weights that it describes; save it again.")
    needed = count_params(geometry).stored + 2 * (STEM_KERNEL * getattr(geometry, "stem_channels", 0)) ** 2
    needed += sum(block.tokens * (block.window or 0) for block in geometry.blocks())  # masks of shifted windows
    if needed > most:
        raise InputError(
            f"{shown(path)} is damaged: it does not hold the weights that it describes, which are far more."
        )
