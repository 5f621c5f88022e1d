"""What a file of others tells of its model beside the weights: in its own settings, or in a config.json beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import timm
import torch
from torch import nn

from core.config import INTERPOLATIONS, Hints, Normalisation
from core.costs.geometry import Geometry
from core.errors import InputError, printable
from core.families.base import Family
from core.families.families import family_of_timm
from core.models.cards import MOST_PIXELS, TIMM_NAME
from core.models.releases.contents import Contents, as_dict, settings

T = TypeVar("T")
CONFIG = "config.json"
"""Beside the weights, as the hub has it."""
CONFIG_BYTES = 1 << 24
ARCH_KEYS = ("arch", "model", "model_name", "architecture", "backbone", "name")
HEADS_KEYS = ("num_heads", "heads", "n_heads", "num_attention_heads")
SIZE_KEYS = ("img_size", "input_size", "image_size", "imgsz")
CROP_KEYS = ("crop_pct", "eval_crop_ratio")
LABEL_KEYS = ("label_names", "class_names", "classes", "class_to_idx", "label2id", "id2label")


@dataclass(frozen=True)
class Told:
    """What is known of a file's model beyond its weights; None where nothing tells."""

    heads: tuple[int, ...] | None = None
    arch: str | None = None
    """A name of timm's, which a family here takes."""
    img_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    labels: tuple[str, ...] | None = None
    """Names of the classes, in the order of the answers."""
    insists: bool = False
    """The architecture was named by the person, so that it must fit."""
    asked_size: int | None = None
    """`img_size` as the person named it."""


NOTHING = Told()


@dataclass(frozen=True, eq=False)
class Arch:
    """One of timm's models, as it would be built."""

    family: Family
    geometry: Geometry
    plain: bool
    """The geometry's numbers say all that its answers depend on."""


def told_by(contents: Contents, hints: Hints) -> Told:
    """All that a file and a person tell; what a person says comes first, then the file, then a config.json beside it.

    Raises:
        InputError: If the person names a model that cannot be one here.
    """
    if hints.arch is not None:
        arch_of(hints.arch)  # says why not
    asked = {"insists": hints.arch is not None, "asked_size": hints.img_size}
    found = Told(hints.heads, hints.arch, hints.img_size, **asked)
    for said in (settings(contents), _config(contents.path)):
        found = _filled(found, _read(said))
    return found if found.arch is None else _filled(found, _by_name(found.arch))


@lru_cache(maxsize=8)
def arch_of(name: str) -> Arch:
    """One of timm's models, built without memory.

    Raises:
        InputError: If timm has no such name, or no family here takes the model.
    """
    if not TIMM_NAME.fullmatch(name):
        raise InputError(
            f"--arch takes one of timm's own names, such as vit_small_patch16_224; not {printable(name, 60)}."
        )
    module = family_of_timm(name)
    with torch.device("meta"):
        model = module.from_timm(name)
    return Arch(module, module.geometry_of(model, name), _is_plain(model))


def _is_plain(model: nn.Module) -> bool:
    """Whether activations, norms and tokens are those that a geometry's numbers stand for."""
    acts = {type(part.act) for part in model.modules() if hasattr(part, "act") and hasattr(part, "fc1")}
    steps = {part.eps for part in model.modules() if isinstance(part, nn.LayerNorm)}
    other = not isinstance(getattr(model, "norm_pre", nn.Identity()), nn.Identity) or getattr(
        model, "num_reg_tokens", 0
    )
    return acts <= {nn.GELU} and len(steps) <= 1 and steps <= {1e-6, 1e-5} and not other


def _filled(first: Told, second: Told) -> Told:
    """The first, and the second where the first tells nothing."""
    return replace(first, **{key: value for key, value in vars(second).items() if getattr(first, key) is None})


def _config(path: Path) -> list[dict]:
    """The settings in the config.json beside a file; none where there is none that can be read."""
    beside = path.with_name(CONFIG)
    try:
        if not beside.is_file() or beside.stat().st_size > CONFIG_BYTES:
            return []
        whole = as_dict(beside.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return []
    inner = [as_dict(whole.get(key)) for key in ("pretrained_cfg", "model_args")]
    return [plain for plain in (whole, *inner) if plain]


def _read(said: Iterable[dict]) -> Told:
    """What dictionaries of settings tell, of each thing the first that does; what makes no sense tells nothing."""
    lowered = [{key.lower(): value for key, value in plain.items()} for plain in said]

    def first(keys: Iterable[str], fits: Callable[[object], T | None]) -> T | None:
        for plain in lowered:
            for key in keys:
                value = fits(plain.get(key))
                if value is not None:
                    return value
        return None

    return Told(
        heads=first(HEADS_KEYS, _heads),
        arch=first(ARCH_KEYS, _arch),
        img_size=first(SIZE_KEYS, _size),
        mean=first(("mean",), _three),
        std=first(("std",), lambda value: _three(value, above=0)),
        crop_pct=first(CROP_KEYS, lambda value: _number(value, 0.1, 1)),
        interpolation=first(
            ("interpolation",), lambda value: value if isinstance(value, str) and value in INTERPOLATIONS else None
        ),
        labels=first(LABEL_KEYS, _labels),
    )


def _by_name(name: str) -> Told:
    """How timm prepares photos for a model of its; its heads are `arch_of`'s to tell."""
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag of somebody's own
        config = timm.get_pretrained_cfg(name.partition(".")[0])
    if config is None:
        return Told()
    return _read([{key: getattr(config, key, None) for key in ("mean", "std", "crop_pct", "interpolation")}])


def _arch(value: object) -> str | None:
    """A name of timm's that a family here takes."""
    if not isinstance(value, str) or len(value) > 200 or not TIMM_NAME.fullmatch(value):
        return None
    try:
        family_of_timm(value)
    except InputError:
        return None
    return value


def _heads(value: object) -> tuple[int, ...] | None:
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    heads = tuple(one for one in several if type(one) is int and 0 < one < 4096)
    return heads if 0 < len(heads) == len(several) < 99 else None


def _size(value: object) -> int | None:
    several = value[-2:] if isinstance(value, list | tuple) and len(value) in (2, 3) else (value,)
    one = several[0]
    return one if type(one) is int and 0 < one <= MOST_PIXELS and all(side == one for side in several) else None


def _number(value: object, low: float, high: float) -> float | None:
    return float(value) if (type(value) is int or type(value) is float) and low <= value <= high else None


def _three(value: object, above: float = -1e3) -> tuple[float, float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    numbers = [number for one in value if (number := _number(one, -1e3, 1e3)) is not None]
    if len(numbers) < 3 or min(numbers) <= above:
        return None
    red, green, blue = numbers
    return red, green, blue


def _labels(value: object) -> tuple[str, ...] | None:
    """Names of classes: as a list, by name with their places, or by place with their names."""
    if isinstance(value, dict):
        places = {str(place): name for place, name in value.items()}
        if all(type(place) is int for place in value.values()):
            places = {str(place): name for name, place in value.items()}
        value = [places.get(str(place)) for place in range(len(places))]
    if not isinstance(value, list | tuple) or not value:
        return None
    names = tuple(name.strip() for name in value if isinstance(name, str))
    fit = all(name and name.isprintable() and len(name) <= 200 for name in names)
    return names if fit and len(names) == len(value) else None


def normalisation(told: Told, usual: Normalisation) -> tuple[Normalisation, tuple[str, ...]]:
    """How a file's photos are prepared, `usual` where nothing tells, and what is to be said of that."""
    fields = {"mean": "mean", "std": "standard deviation", "crop_pct": "crop", "interpolation": "interpolation"}
    known = {field: getattr(told, field) for field in fields if getattr(told, field) is not None}
    lacking = [words for field, words in fields.items() if field not in known and field != "interpolation"]
    found = replace(usual, **known)
    if not lacking:
        return found, ()
    usually = {
        "mean": "ImageNet's mean" if usual.mean == Normalisation.mean else f"mean {usual.mean}",
        "standard deviation": "standard deviation" if usual.std == Normalisation.std else f"deviation {usual.std}",
        "crop": f"a crop of {found.crop_pct:g}",
    }
    taken = ", ".join(usually[words] for words in lacking)
    return found, (
        f"The file does not say all of how its photos are prepared (normalisation, crop); read with {taken}. If it was "
        "trained otherwise, name timm's model with --arch.",
    )
