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
from core.costs.macs import count_macs
from core.errors import InputError, printable
from core.families.families import family, family_of_geometry
from core.files.json_text import json_text
from core.results import MIXERS, Architecture, ClassName, Mixer
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
class SelectorCard:
    """Where the token selectors of a model stand, and whether they were trained."""

    blocks: tuple[int, ...]
    """Each stands before this block."""
    targets: tuple[float, ...]
    """Share of the original patches that each was trained to leave alive."""
    trained: bool
    """Met its targets on held-out photos with deterministic decisions, and beat random dropping there."""
    ranked: bool = False
    """There are none: patches rank by class attention, which takes no training. Never stored."""

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.targets):
            raise ValueError(f"{len(self.targets)} targets for {len(self.blocks)} selectors")
        if list(self.blocks) != sorted(set(self.blocks)) or (self.blocks and self.blocks[0] < 0):
            raise ValueError(f"selectors before blocks {self.blocks}")
        if not all(0 < target <= 1 for target in self.targets):
            raise ValueError(f"targets {self.targets} are no shares")


@dataclass(frozen=True)
class SinglePathCard:
    """How the gates and convolutions of a single-path model are to be read."""

    alpha: float
    """Temperature of the head mixing."""
    fit_to_predict: bool
    """False while the search has not got far enough for predictions to be shown."""
    budgets: tuple[float, ...] = ()
    """Shares of the dense MACs at which it was trained to work and was calibrated, rising; none: not any budget."""

    prefix_passes: bool = False
    """Where a block is a convolution, its prefix tokens get their normalised input (released files), not nothing."""
    in_windows: bool = False
    """Convolutions of a Swin stay inside its shifted windows (released search files); else they see the whole map."""
    shifts: bool = False
    """A hidden unit that leaves puts its mean activation into the second layer's bias (scored models)."""
    scored: bool = False
    """The gates were scored on some photos, not learned."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"a temperature of {self.alpha}")
        if list(self.budgets) != sorted(set(self.budgets)) or not all(0 < share <= 1 for share in self.budgets):
            raise ValueError(f"budgets {self.budgets} are no rising shares")


@dataclass(frozen=True)
class CompactCard:
    """What a single-path model was made into: plain layers, no gates left."""

    mixers: tuple[Mixer, ...]
    """Per block, L of them."""
    ffn_hidden: tuple[int, ...]
    """Hidden units left per block."""
    asked_macs: float | None = None
    """The budget that it was derived for; None where nobody asked."""
    stored_params: int | None = None
    """Parameters of the form that was trained."""
    prefix_passes: bool = False
    """As in `SinglePathCard`."""
    skip_passes: bool = False
    """A block whose mixer is gone adds its normalised input (released fine-tuned files), not nothing."""
    in_windows: bool = False
    """As in `SinglePathCard`."""
    fit_to_predict: bool = True
    """False for what was derived from a search that has not got far enough."""

    def __post_init__(self) -> None:
        if len(self.mixers) != len(self.ffn_hidden) or set(self.mixers) - set(MIXERS):
            raise ValueError(f"{self.mixers} for {len(self.ffn_hidden)} blocks")
        if any(hidden < 0 for hidden in self.ffn_hidden) or (self.stored_params is not None and self.stored_params < 0):
            raise ValueError("a negative number of hidden units or parameters")
        if self.asked_macs is not None and not 0 < self.asked_macs < math.inf:
            raise ValueError(f"a budget of {self.asked_macs}")


@dataclass(frozen=True)
class BackboneFile:
    """The dense file whose weights a model keeps as they are, so that its own file holds its selectors alone."""

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
    notes: tuple[str, ...] = field(default=(), repr=False)
    """What the file that it was read from did not say, and how it is taken; each a sentence."""

    @property
    def only_scored(self) -> bool:
        """Pruned by scores, with nothing trained since; also in the compact form."""
        return self.training.get("command") == "score"

    def __post_init__(self) -> None:
        if not isinstance(self.geometry, family(self.family).GEOMETRY):
            raise ValueError(f"a {type(self.geometry).__name__} for the family {self.family}")
        carried = {"tokens": self.selectors, "singlepath": self.single_path or self.compact}
        for method, part in carried.items():
            if part is not None and method not in family(self.family).METHODS:
                raise ValueError(f"{method} in the family {self.family}")
        if len(self.classes) != self.geometry.classes:
            raise ValueError(f"{len(self.classes)} names for {self.geometry.classes} classes")
        if self.compact is not None and len(self.compact.mixers) != self.geometry.depth:
            raise ValueError(f"{len(self.compact.mixers)} mixers for {self.geometry.depth} blocks")
        if self.backbone is not None and self.selectors is None:
            raise ValueError("nothing beside a backbone that is elsewhere")
        if self.selectors is not None and max(self.selectors.blocks, default=0) >= self.geometry.depth:
            raise ValueError(f"selectors before blocks {self.selectors.blocks} of {self.geometry.depth}")


def compact_architecture(card: ModelCard) -> Architecture | None:
    """What a compact model's card says that it was made into; None: it is of another model."""
    geometry, made = card.geometry, card.compact
    if made is None:
        return None
    return Architecture(
        mixers=made.mixers,
        ffn_hidden=made.ffn_hidden,
        ffn_full=tuple(max(both) for both in zip(geometry.ffn_widths, made.ffn_hidden, strict=True)),
        macs=count_macs(geometry, mixers=made.mixers, ffn_hidden=made.ffn_hidden).total,
        dense_macs=count_macs(geometry).total,
        asked_macs=made.asked_macs,
    )


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
