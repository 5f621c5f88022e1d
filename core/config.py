"""Choices that go in: their names, and frozen dataclasses of plain values, safe as cache keys."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from core.costs.deit import DeitGeometry

Packaging = Literal["weighted_mean", "weighted_sum"]
Geometry = DeitGeometry
"""Its name here, when there was no other family; for programs that use it."""
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random")
"""timm's names for ways to resize a photo."""
Peer = Literal["tome", "evit", "random-dense"]
PEERS: tuple[Peer, ...] = get_args(Peer)
"""Other people's methods; see `core.baselines`."""
Distill = Literal["none", "soft", "hard"]
DISTILL_KINDS: tuple[Distill, ...] = get_args(Distill)
"""What is learned from a teacher; see `core.training.objectives`."""
RankBy = Literal["attention", "saliency", "teacher"]
RANKINGS: tuple[RankBy, ...] = get_args(RankBy)
"""What selectors learn to rank patches by; see `core.training.tokens`."""
LEAST_PHOTOS = 8
"""Photos that gates are scored on, at least: fewer say nothing of a unit that only some photos need."""
USUAL_PHOTOS = 32
"""Photos that gates are scored on, where nobody says otherwise."""
OURS, ONNX, PT2 = ".safetensors", ".onnx", ".pt2"
"""How files end that are written for use elsewhere; see `core.models.export`. The last is torch.export's."""
GRAPHS = (ONNX, PT2)
"""Those that hold what is to be computed, not the weights alone."""


@dataclass(frozen=True)
class Normalisation:
    """What turns a photo into the numbers that a model was trained on; the arguments of timm's transform."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_pct: float = 1.0
    """Share of the resized short side that the centre crop keeps."""
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not min(self.std) > 0 or not 0.1 <= self.crop_pct <= 1 or self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"photos cannot be prepared so: {self}")


@dataclass(frozen=True)
class Hints:
    """What a person says of a weights file that does not say it itself."""

    heads: tuple[int, ...] | None = None
    """Attention heads of every block, or of each stage's blocks."""
    arch: str | None = None
    """timm's name for a model of these shapes: it tells heads, pixels, and how photos are prepared."""
    img_size: int | None = None
    """Side of the square input, pixels."""


@dataclass(frozen=True)
class ModelSpec:
    """One model with its settings: the arguments of `core.models.load.load_model`, and every cache's key."""

    name: str
    """A name that `models` lists, or a path, also as a `pathlib.Path`."""
    budget: float | None = None
    """Single-path budget in MACs (not G)."""
    keep: tuple[float, ...] | None = None
    """Per selector: share of the original patches still alive after it, never rising."""
    threshold: float | None = None
    """Keep a patch if its keep probability is above this."""
    packaging: Packaging = "weighted_mean"
    blocks: tuple[int, ...] | None = None
    """Rank patches by class attention before these blocks, from 0, in a model without selectors of its own."""
    mass: float | None = None
    """Keep the fewest patches that hold this share of the class attention, before each of those blocks."""
    heads: tuple[int, ...] | None = None
    """See `Hints`; of a file that does not say it."""
    arch: str | None = None
    """Likewise."""
    img_size: int | None = None
    """Likewise."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", os.fspath(self.name))

    @property
    def hints(self) -> Hints:
        """What the spec says of the file."""
        return Hints(self.heads, self.arch, self.img_size)


class Setting(NamedTuple):
    """One field of a `ModelSpec` outside of it: a flag of the commands, words of a recorded row, a key of links."""

    key: str
    """The field, and what links call it."""
    flag: str
    read: Callable[[str, int], Any]
    """Its value of a text, and the dense MACs of the model; raises ValueError where the text is none."""
    write: Callable[[Any, int], str]
    """The text of a value, which `read` gives back, a budget within rounding."""


class Range(NamedTuple):
    """What a slider of a setting offers."""

    low: float
    high: float
    step: float
    usual: float

    @property
    def values(self) -> tuple[float, ...]:
        """All of them, rising."""
        return tuple(round(self.low + i * self.step, 4) for i in range(round((self.high - self.low) / self.step) + 1))

    def nearest(self, value: float) -> float:
        """That of `values` next to a number."""
        within = min(self.high, max(self.low, value))
        return min(self.values, key=lambda one: abs(one - within))


KEEP_RANGE = Range(0.1, 1.0, 0.05, 0.7)
"""Of the keep ratio that every selector has of what reaches it."""
THRESHOLD_RANGE = Range(0.0, 0.95, 0.01, 0.5)
MASS_RANGE = Range(0.3, 1.0, 0.01, 0.9)
BUDGET_RANGE = Range(1, 100, 1, 75)
"""In percent of the dense MACs."""


def _read_budget(text: str, dense_macs: int) -> float:
    return float(text[:-1]) * dense_macs / 100 if text.endswith("%") else float(text) * 1e9


def _write_budget(value: float, dense_macs: int) -> str:
    """In whole or tenth percent of dense where it is that, else in GMACs."""
    share = round(100 * value / dense_macs, 1)
    exact = abs(share * dense_macs / 100 - value) <= 1e-9 * value
    return f"{share:g}%" if exact else repr(value / 1e9)


def _numbers(kind: type) -> tuple[Callable[[str, int], tuple], Callable[[Sequence, int], str]]:
    """How numbers with commas between them are read and written."""
    return (
        lambda text, dense_macs: tuple(kind(part) for part in text.split(",")),
        lambda value, dense_macs: ",".join(map(repr, value)),
    )


def _one(kind: type, written: Callable = repr) -> tuple[Callable[[str, int], Any], Callable[[Any, int], str]]:
    """How one value is read and written."""
    return lambda text, dense_macs: kind(text), lambda value, dense_macs: written(value)


BUDGET = Setting("budget", "--budget", _read_budget, _write_budget)
SETTINGS = (
    BUDGET,
    Setting("keep", "--keep", *_numbers(float)),
    Setting("threshold", "--threshold", *_one(float)),
    Setting("blocks", "--blocks", *_numbers(int)),
    Setting("mass", "--mass", *_one(float)),
    Setting("heads", "--heads", *_numbers(int)),
    Setting("arch", "--arch", *_one(str, str)),
    Setting("img_size", "--img-size", *_one(int)),
)
"""In the order in which they are written."""


def words_of(spec: ModelSpec, dense_macs: int) -> list[str]:
    """A spec's settings as the words of a command line, after `--model`; none for a model as it is.

    Args:
        spec: Its packaging has no flag.
        dense_macs: Of its model.
    """
    given = [(setting, getattr(spec, setting.key)) for setting in SETTINGS]
    return [
        word
        for setting, value in given
        if value is not None
        for word in (setting.flag, setting.write(value, dense_macs))
    ]


def with_words(spec: ModelSpec, words: Sequence[str], dense_macs: int) -> ModelSpec:
    """A spec with the settings that `words_of` has written.

    Raises:
        ValueError: If these are no such words.
    """
    by_flag = {setting.flag: setting for setting in SETTINGS}
    for pair in (words[i : i + 2] for i in range(0, len(words), 2)):
        if len(pair) < 2 or pair[0] not in by_flag:
            raise ValueError(f"{' '.join(words)!r} are no settings")
        setting = by_flag[pair[0]]
        spec = replace(spec, **{setting.key: setting.read(pair[1], dense_macs)})
    return spec


def plain(config: object) -> dict:
    """A config as a dictionary that JSON can hold (tuples become lists there)."""
    return asdict(config)  # type: ignore[call-overload]
