"""Our own format on disk: safetensors with the weights, and their card in the metadata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.cards import ModelCard, TeacherCard, card_from_json, card_to_json, teacher_from_json
from core.errors import InputError
from core.files import publish

T = TypeVar("T")
C = TypeVar("C")
CARD_KEY = "prunescope"


def save_checkpoint(path: Path, module: nn.Module, card: ModelCard | TeacherCard, *, half: bool = True) -> None:
    """Write weights and card, atomically.

    Args:
        path: The file.
        module: Whose weights.
        card: What they are.
        half: Store floats in half precision; else in single.

    Raises:
        InputError: If a weight is not finite in that precision; nothing is written then.
    """
    kind = torch.float16 if half else torch.float32
    state = {
        key: value.detach().cpu().to(kind if value.is_floating_point() else value.dtype).contiguous()
        for key, value in module.state_dict().items()
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
    """Weights in single precision, and the card.

    Raises:
        InputError: If the file is missing, cut off, not ours, or holds NaN or infinite weights.
    """
    return _read(path, card_from_json)


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
        raise InputError(f"{path} holds weights that are no numbers ({bad[0]}); take an earlier checkpoint.")
    return state, card


def _open(path: Path, parse: Callable[[str], C], read: Callable[[Any, C], T]) -> T:
    """What `read` takes from an open file and its card.

    Raises:
        InputError: If the file is missing, cut off or not ours.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; `python -m core models` lists what can be loaded.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if CARD_KEY not in metadata:
                raise InputError(f"{path} does not say what model it holds; give a file that Prunescope wrote.")
            return read(file, parse(metadata[CARD_KEY]))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or no safetensors file; copy or save it again.") from error


def load_weights(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load `state` into `module`, all of it and nothing else.

    Raises:
        InputError: If names or shapes differ.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path} does not hold the weights that it describes: {detail}") from error
