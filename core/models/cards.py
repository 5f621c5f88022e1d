"""What a weights file says of itself: a card, stored as JSON in the file's metadata."""

import json
import math
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import timm
import torch
from timm.data import ImageNetInfo

from core.config import Normalisation, plain
from core.costs.geometry import Geometry
from core.errors import InputError, printable
from core.families.families import family, family_of_geometry
from core.files.json_text import json_text
from core.methods import METHODS, part_of, takes
from core.results import ClassName
from core.single_path.method import CompactCard, SinglePathCard
from core.soft_tokens.method import SelectorCard
from core.version import __version__

FORMAT = 1
LARGEST = 1 << 53
"""Above every whole number that a description may hold."""
MOST_PIXELS = 4096
"""A side that a model may take."""
TIMM_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
"""What timm's own names look like; others (hf-hub:..., local-dir:...) would be looked for elsewhere."""
FILE_NAME = re.compile(r"[^/\\\0]+\.safetensors")
"""A file beside another: a name, and no way to anywhere else."""
SHA256 = re.compile(r"[0-9a-f]{64}")
TEACHER = "teacher"
DAMAGED = (KeyError, IndexError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
"""What reading a damaged description may raise."""


@dataclass(frozen=True)
class BackboneFile:
    """The dense file whose weights a model keeps as they are: its own file holds its selectors or its gates alone."""

    name: str
    """It lies beside the model's own file."""
    sha256: str
    """Of its bytes, 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.name) or not SHA256.fullmatch(self.sha256):
            raise ValueError(f"a backbone in {self.name:.60}")


@dataclass(frozen=True)
class ModelCard:
    """All that a weights file says of itself."""

    family: str
    geometry: Geometry
    classes: tuple[ClassName, ...]
    normalisation: Normalisation
    selectors: SelectorCard | None = None
    single_path: SinglePathCard | None = None
    compact: CompactCard | None = None
    backbone: BackboneFile | None = None
    """Where the file lacks the backbone's weights: what holds them. None once they are read: then they are here."""
    training: dict = field(default_factory=dict)
    """The command and settings that made it, and what it reached; empty: never trained."""
    least_share: float | None = None
    """An answer that says a smaller share of what it could say counts as none: that of the one known photo in ten that
    says least, as `calibrate` found it on validation photos. None: never measured."""
    notes: tuple[str, ...] = field(default=(), repr=False)
    """What the file that it was read from did not say, and how it is taken; each a sentence."""

    @property
    def only_scored(self) -> bool:
        """Pruned by scores, with nothing trained since; also in the compact form."""
        return self.training.get("command") == "score"

    @property
    def fit_to_predict(self) -> bool:
        """False where a search has not got far enough: it has gates to show, and no predictions."""
        pruned = self.single_path or self.compact
        return pruned is None or pruned.fit_to_predict

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, family(self.family).GEOMETRY):
            raise ValueError(f"a {type(self.geometry).__name__} for the family {self.family}")
        for method in METHODS:
            if part_of(self, method) is not None and not takes(method, self.family):
                raise ValueError(f"{method.NAME} in the family {self.family}")
        if self.least_share is not None and not 0 <= self.least_share <= 1:
            raise ValueError(f"a share of {self.least_share}")
        if len(self.classes) != self.geometry.classes:
            raise ValueError(f"{len(self.classes)} names for {self.geometry.classes} classes")
        if self.compact is not None and len(self.compact.mixers) != self.geometry.depth:
            raise ValueError(f"{len(self.compact.mixers)} mixers for {self.geometry.depth} blocks")
        if self.backbone is not None and self.selectors is None and self.single_path is None:
            raise ValueError("nothing beside a backbone that is elsewhere")
        if self.selectors is not None and max(self.selectors.blocks, default=0) >= self.geometry.depth:
            raise ValueError(f"selectors before blocks {self.selectors.blocks} of {self.geometry.depth}")


def class_names(folders: Sequence[str], info: ImageNetInfo | None = None) -> tuple[ClassName, ...]:
    """Folders as classes: an ImageNet wnid gets timm's description, any other folder its own name.

    Args:
        folders: In the order of the labels.
        info: The ImageNet list whose wnids are known; None: that of 1,000 classes.
    """
    info = info or ImageNetInfo()
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
    """The card as it is stored, with the version that wrote it, which nothing reads."""
    return json_text({"format": FORMAT, "prunescope": __version__, **plain(card)})


def card_from_json(text: str) -> ModelCard:
    """The card of a stored text.

    Raises:
        InputError: If the text is no card of this format.
    """
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            told = printable(str(raw["format"]), 40)
            raise InputError(f"This file has format {told}; this version of Prunescope reads format {FORMAT}.")
        if raw["family"] == TEACHER:
            told = printable(str(raw["timm"]), 60)
            raise InputError(f"This file holds {told}, which cannot be pruned here; it can be a --teacher.")
        module = family(raw["family"])
        geometry = module.geometry_from(_checked(module.GEOMETRY, raw["geometry"]))
        _check_sizes(geometry)
        return ModelCard(
            family=raw["family"],
            geometry=geometry,
            classes=_classes(raw["classes"]),
            normalisation=_normalisation(raw["normalisation"]),
            selectors=_part(SelectorCard, raw["selectors"]),
            single_path=_part(SinglePathCard, raw["single_path"]),
            compact=_part(CompactCard, raw.get("compact")),
            backbone=_part(BackboneFile, raw.get("backbone")),
            training=_typed(raw["training"], dict),
            least_share=_typed(raw.get("least_share"), float | None),
            notes=_typed(raw.get("notes", []), tuple[str, ...]),
        )
    except InputError:
        raise
    except DAMAGED as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InputError:
    """What to say of a description that cannot be."""
    why = printable(f"{error}", 120)
    return InputError(f"The description inside the file is damaged ({why}); save the model again.")


def _part(kind: type, raw: object) -> Any:
    """One of a card's parts; None where the model does not have it."""
    return None if raw is None else kind(**_checked(kind, raw))


def _checked(kind: type, raw: object) -> dict[str, Any]:
    """The fields of a dataclass as JSON holds them, each of the type that the class says; lists become tuples.

    Raises:
        ValueError: If one is of another type, or no number.

    What the class has no field for stays as it is: whoever builds it refuses it.
    """
    hints = get_type_hints(kind)
    return {key: _typed(value, hints[key]) if key in hints else value for key, value in _typed(raw, dict).items()}


def _typed(value: object, hint: Any) -> Any:
    """A value that JSON holds, if it is of a type.

    Raises:
        ValueError: If it is not: 3.5 and "3" are no whole numbers, NaN is no number, and 2 is not true.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(value, next(kind for kind in inner if kind is not type(None)))
    if origin is tuple and isinstance(value, list) and (inner[-1] is ... or len(inner) == len(value)):
        return tuple(_typed(one, inner[0]) for one in value)
    if origin is Literal and value in inner:
        return value
    if hint is float and (type(value) is int or type(value) is float) and math.isfinite(value):
        return value
    if hint is int and type(value) is int and abs(value) < LARGEST:
        return value
    if hint in (str, bool, dict, list) and type(value) is hint:
        return value
    raise ValueError(f"{value!r:.80} where {getattr(hint, '__name__', hint)} should be")


def _check_sizes(geometry: Geometry) -> None:
    """Refuse sizes below 1 in any field of a geometry; 0 where that is what a field usually is.

    Raises:
        ValueError: If there is one.
    """
    for part in fields(geometry):
        value = getattr(geometry, part.name)
        several = value if isinstance(value, tuple) else (value,)
        least = 0 if part.name == "classes" or part.default == 0 else 1  # a backbone has no classes
        if any(type(one) is int and one < least for one in several):
            raise ValueError(f"{part.name} of {value}")


def check_own_name(geometry: Geometry) -> None:
    """Refuse a geometry that names a model of timm's which it is not; what timm would look for elsewhere is no name.

    Raises:
        ValueError: If it does.
    """
    name = getattr(geometry, "timm", None)  # not every family has names there
    if name is None:
        return
    module = family_of_geometry(geometry)
    if not TIMM_NAME.fullmatch(name) or not timm.is_model(name) or not module.claims(name):
        raise ValueError(f"a model named {name:.60}")
    with torch.device("meta"):  # takes no memory
        named = module.from_timm(name, classes=geometry.classes, img_size=geometry.img_size)
    if module.geometry_of(named, name) != geometry:
        raise ValueError(f"other sizes than {name:.60} has")


def teacher_from_json(text: str) -> TeacherCard | None:
    """The card of a teacher's file, or None where the file holds a model that can be pruned.

    Raises:
        InputError: If the text is no card of this format.
    """
    try:
        raw = json.loads(text)
        if raw["family"] != TEACHER:
            return None
        told = _checked(TeacherCard, {key: raw[key] for key in ("timm", "img_size", "macs", "training")})
        if not TIMM_NAME.fullmatch(told["timm"]) or not 0 < told["img_size"] <= MOST_PIXELS:
            raise ValueError(f"a teacher named {told['timm']:.60} for {told['img_size']} pixels")
        return TeacherCard(**told, classes=_classes(raw["classes"]), normalisation=_normalisation(raw["normalisation"]))
    except DAMAGED as error:
        raise _damaged(error) from error


def _classes(raw: list[dict]) -> tuple[ClassName, ...]:
    return tuple(ClassName(**_checked(ClassName, one)) for one in _typed(raw, list))


def _normalisation(raw: dict) -> Normalisation:
    return Normalisation(**_checked(Normalisation, raw))
