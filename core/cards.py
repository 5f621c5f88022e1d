"""Our own format: safetensors with weights in half precision, and a card in the metadata that says what they are."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from torch import Tensor, nn

from core.config import Geometry, Normalisation, plain
from core.errors import InputError
from core.results import ClassName

T = TypeVar("T")
C = TypeVar("C")
CARD_KEY = "prunescope"
FORMAT = 1
TEACHER = "teacher"
DAMAGED = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What reading a damaged description may raise."""


@dataclass(frozen=True)
class SelectorCard:
    """Where the token selectors of a model stand, and whether they were trained."""

    blocks: tuple[int, ...]
    """Each stands before this block."""
    targets: tuple[float, ...]
    """Share of the original patches that each was trained to leave alive."""
    trained: bool
    """Met its targets on held-out photos with deterministic decisions, and beat random dropping there."""


@dataclass(frozen=True)
class SinglePathCard:
    """How the gates and convolutions of a single-path model are to be read."""

    alpha: float
    """Temperature of the head mixing."""
    fit_to_predict: bool
    """False while the search has not got far enough for predictions to be shown."""
    budgets: tuple[float, ...] = ()
    """Shares of the dense MACs at which it was trained to work and was calibrated, rising; none: not any budget."""


@dataclass(frozen=True)
class ModelCard:
    """All that a weights file says of itself."""

    family: str
    geometry: Geometry
    classes: tuple[ClassName, ...]
    normalisation: Normalisation
    selectors: SelectorCard | None = None
    single_path: SinglePathCard | None = None
    training: dict = field(default_factory=dict)
    """The command and settings that made it, and what it reached; empty: never trained."""

    def __post_init__(self) -> None:
        if self.family != "deit":
            raise ValueError(f"family {self.family}")
        if len(self.classes) != self.geometry.classes:
            raise ValueError(f"{len(self.classes)} names for {self.geometry.classes} classes")
        if self.selectors is not None and len(self.selectors.blocks) != len(self.selectors.targets):
            raise ValueError(f"{len(self.selectors.targets)} targets for {len(self.selectors.blocks)} selectors")


def class_names(folders: Sequence[str]) -> tuple[ClassName, ...]:
    """Folders as classes: an ImageNet wnid gets timm's description, any other folder its own name."""
    info = ImageNetInfo()
    known = set(info.label_names())
    return tuple(
        ClassName(wnid=name, label=info.label_name_to_description(name).split(",")[0])
        if name in known
        else ClassName(wnid=None, label=name)
        for name in folders
    )


@dataclass(frozen=True)
class TeacherCard:
    """What a weights file says of a classifier that cannot be pruned here but can teach: any model of timm."""

    timm: str
    """timm's name for it."""
    img_size: int
    """Side of the square input, pixels."""
    macs: int
    """Of one image, as torch's counter finds them (half its FLOPs)."""
    classes: tuple[ClassName, ...]
    normalisation: Normalisation
    training: dict = field(default_factory=dict)
    """The command and settings that made it, and what it reached."""
    family: str = TEACHER


def card_to_json(card: ModelCard | TeacherCard) -> str:
    """The card as it is stored."""
    return json.dumps({"format": FORMAT, **plain(card)})


def card_from_json(text: str) -> ModelCard:
    """The card of a stored text.

    Raises:
        InputError: If the text is no card of this format.
    """
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise InputError(f"This file has format {raw['format']}; this version of Prunescope reads format {FORMAT}.")
        if raw["family"] == TEACHER:
            raise InputError(f"This file holds {raw['timm']}, which cannot be pruned here; it can be a --teacher.")
        geometry = raw["geometry"]
        selectors, single = raw["selectors"], raw["single_path"]
        return ModelCard(
            family=raw["family"],
            geometry=Geometry(**{**geometry, "stem": tuple(geometry["stem"])}),
            classes=_classes(raw["classes"]),
            normalisation=_normalisation(raw["normalisation"]),
            selectors=SelectorCard(tuple(selectors["blocks"]), tuple(selectors["targets"]), selectors["trained"])
            if selectors
            else None,
            single_path=SinglePathCard(**{**single, "budgets": tuple(single["budgets"])}) if single else None,
            training=raw["training"],
        )
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"The description inside the file is damaged ({error}); save the model again.") from error


def teacher_from_json(text: str) -> TeacherCard | None:
    """The card of a teacher's file, or None where the file holds a model that can be pruned.

    Raises:
        InputError: If the text is no card of this format.
    """
    try:
        raw = json.loads(text)
        if raw["family"] != TEACHER:
            return None
        told = {key: raw[key] for key in ("timm", "img_size", "macs", "training")}
        return TeacherCard(**told, classes=_classes(raw["classes"]), normalisation=_normalisation(raw["normalisation"]))
    except DAMAGED as error:
        raise InputError(f"The description inside the file is damaged ({error}); save the model again.") from error


def _classes(raw: list[dict]) -> tuple[ClassName, ...]:
    return tuple(ClassName(**c) for c in raw)


def _normalisation(raw: dict) -> Normalisation:
    return Normalisation(**{**raw, "mean": tuple(raw["mean"]), "std": tuple(raw["std"])})


def save_checkpoint(path: Path, module: nn.Module, card: ModelCard | TeacherCard) -> None:
    """Write weights (floats in half precision) and card, atomically.

    Raises:
        InputError: If a weight is not finite in half precision; nothing is written then.
    """
    state = {
        key: value.detach().cpu().to(torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in module.state_dict().items()
    }
    if any(value.is_floating_point() and not value.isfinite().all() for value in state.values()):
        raise InputError("The weights are too large for half precision, or no numbers; train again with a lower --lr.")
    temporary = path.with_name(path.name + ".tmp")
    save_file(state, str(temporary), metadata={CARD_KEY: card_to_json(card)})
    os.replace(temporary, path)


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
