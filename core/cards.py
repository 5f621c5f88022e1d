"""What a weights file says of itself: a card, stored as JSON in the file's metadata."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from timm.data import ImageNetInfo

from core.backbones.families import family
from core.config import Normalisation, plain
from core.errors import InputError
from core.geometry import Geometry
from core.json_text import json_text
from core.macs import count_macs
from core.results import MIXERS, Architecture, ClassName, Mixer

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
    ranked: bool = False
    """There are none: patches rank by class attention, which takes no training. Never stored."""


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
    training: dict = field(default_factory=dict)
    """The command and settings that made it, and what it reached; empty: never trained."""

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
        if self.selectors is not None and len(self.selectors.blocks) != len(self.selectors.targets):
            raise ValueError(f"{len(self.selectors.targets)} targets for {len(self.selectors.blocks)} selectors")


def compact_architecture(card: ModelCard) -> Architecture:
    """What a compact model's card says that it was made into."""
    geometry, made = card.geometry, card.compact
    return Architecture(
        mixers=made.mixers,
        ffn_hidden=made.ffn_hidden,
        ffn_full=tuple(max(both) for both in zip(geometry.ffn_widths, made.ffn_hidden, strict=True)),
        macs=count_macs(geometry, mixers=made.mixers, ffn_hidden=made.ffn_hidden).total,
        dense_macs=count_macs(geometry).total,
        asked_macs=made.asked_macs,
    )


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
    return json_text({"format": FORMAT, **plain(card)})


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
        selectors, single, compact = raw["selectors"], raw["single_path"], raw.get("compact")
        return ModelCard(
            family=raw["family"],
            geometry=family(raw["family"]).geometry_from(raw["geometry"]),
            classes=_classes(raw["classes"]),
            normalisation=_normalisation(raw["normalisation"]),
            selectors=SelectorCard(tuple(selectors["blocks"]), tuple(selectors["targets"]), selectors["trained"])
            if selectors
            else None,
            single_path=SinglePathCard(**{**single, "budgets": tuple(single["budgets"])}) if single else None,
            compact=CompactCard(
                **{**compact, "mixers": tuple(compact["mixers"]), "ffn_hidden": tuple(compact["ffn_hidden"])}
            )
            if compact
            else None,
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
