"""The contract of a pruning method, the two that there are, and what a model can carry of them.

Whatever is asked about a method is answered here or in the `method` module of its folder, so that nobody asks which
one it is. A joint model carries both, one applied after the other; it is no case of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from core.config import ModelSpec, Range
from core.costs.geometry import Geometry
from core.errors import InputError
from core.families.families import family, names
from core.single_path import method as single_path
from core.soft_tokens import method as soft_tokens


class Method(Protocol):
    """What is asked of a method. `part` is what a model's card says of it."""

    @property
    def NAME(self) -> str:
        """Its name, which a family's `METHODS` say."""
        ...

    @property
    def TITLE(self) -> str:
        """Its name in sentences."""
        ...

    @property
    def COMMAND(self) -> str:
        """The command that prunes a dense model by it."""
        ...

    @property
    def RANGES(self) -> Mapping[str, Range]:
        """By field of a `ModelSpec`, what a slider offers."""
        ...

    @property
    def PARTS(self) -> Mapping[str, type]:
        """By field of a card, the class of what stands there; a model has one of them at most."""
        ...

    def build(self, model: Any, geometry: Geometry, part: Any) -> nn.Module:
        """The form that is stored and trained, with fresh weights, of a dense model or one that a method has built."""
        ...

    def asks(self, spec: ModelSpec, model: nn.Module, geometry: Geometry, part: Any, *, alone: bool) -> bool:
        """Whether settings ask for this method in a model that lacks it; `alone`: no other has pruned it.

        Raises:
            InputError: If a setting does not fit the model.
        """
        ...

    def put_in(self, spec: ModelSpec, model: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
        """The model with what its settings ask for, and the fields of its card that say so.

        Raises:
            InputError: If that takes more than settings.
        """
        ...

    def finish(self, spec: ModelSpec, model: Any, geometry: Geometry, part: Any) -> tuple[nn.Module, dict[str, Any]]:
        """What runs at the settings, frozen, and the fields of `core.models.load.Loaded` that say what became of it.

        Raises:
            InputError: If a setting does not fit the model.
        """
        ...


SOFT_TOKENS: Method = soft_tokens
SINGLE_PATH: Method = single_path
METHODS: tuple[Method, ...] = (SOFT_TOKENS, SINGLE_PATH)


@dataclass(frozen=True)
class Kind:
    """What a model carries of the methods."""

    name: str
    """As JSON and `ModelEntry` have it."""
    noun: str
    takes: str
    """What can be set in it, for a person who chooses a model."""
    parts: tuple[str, ...] = ()
    """Fields of its card, in the order in which their methods are applied."""
    made_by: Method | None = None
    """What makes it of a dense model in one step."""

    @property
    def pruned(self) -> bool:
        """Whether it is not dense."""
        return bool(self.parts)

    @property
    def selects(self) -> bool:
        """Whether patches leave it, photo by photo: it takes keep ratios."""
        return "selectors" in self.parts

    @property
    def gated(self) -> bool:
        """Whether it has gates: it takes any budget."""
        return "single_path" in self.parts

    @property
    def carved(self) -> bool:
        """Whether its blocks are what single-path pruning left, or may leave, of them."""
        return self.gated or "compact" in self.parts

    @property
    def ranges(self) -> dict[str, Range]:
        """What sliders set in it, by field of a `ModelSpec`."""
        settable = [part for part in self.parts if part != "compact"]
        return {key: found for part in settable for key, found in method_of_part(part).RANGES.items()}


def method_of_part(part: str) -> Method:
    """Whose field of a card this is."""
    return next(method for method in METHODS if part in method.PARTS)


DENSE = Kind("dense", "dense model", "Dense: nothing is pruned yet.")
TOKENS = Kind(
    "tokens",
    "model with token selectors",
    "Carries soft token pruning: keep ratios, no budget.",
    ("selectors",),
    SOFT_TOKENS,
)
GATED = Kind(
    "singlepath",
    "single-path model",
    "Carries single-path pruning: a budget, no keep ratios.",
    ("single_path",),
    SINGLE_PATH,
)
COMPACT = Kind(
    "compact",
    "model that single-path pruning made",
    "Made by single-path pruning and fixed: no budget, no keep ratios; it can be compared with others, and "
    "stands beside a budget on Architecture.",
    ("compact",),
)
JOINT = Kind(
    "joint",
    "single-path model with token selectors",
    "Carries both: token selectors in what single-path pruning left at one budget; keep ratios, no other budget.",
    (*COMPACT.parts, *TOKENS.parts),
)
KINDS = {kind.name: kind for kind in (DENSE, TOKENS, GATED, COMPACT, JOINT)}


def kind_of(card: Any) -> Kind:
    """What the model of a card carries."""
    order = (JOINT, TOKENS, GATED, COMPACT, DENSE)
    return next(kind for kind in order if all(getattr(card, part) is not None for part in kind.parts))


def part_of(card: Any, method: Method) -> Any:
    """What a card says of a method; None: the model carries nothing of it."""
    return next((part for key in method.PARTS if (part := getattr(card, key)) is not None), None)


def takes(method: Method, name: str) -> bool:
    """Whether a method can prune the family of that name."""
    return method.NAME in family(name).METHODS


def check_takes(method: Method, name: str) -> None:
    """Refuse a family that a method cannot take.

    Raises:
        InputError: If `method` cannot prune the family `name`; it names those it can.
    """
    if not takes(method, name):
        raise InputError(f"{method.TITLE} cannot take {name} models; it takes {names(method.NAME)}.")


def methods_of(name: str) -> tuple[Method, ...]:
    """Those that can prune a family, in the order in which it says so."""
    by_name = {method.NAME: method for method in METHODS}
    return tuple(by_name[one] for one in family(name).METHODS)


def methods_sentence(name: str) -> str:
    """Which of the two methods can prune a family, and why not the other; a family may say why as `WHY_NOT`."""
    can = [method for method in METHODS if takes(method, name)]
    cannot = [method for method in METHODS if not takes(method, name)]
    if not cannot:
        return "Both methods can prune it."
    why = family(name).WHY_NOT or f"it takes {names(cannot[0].NAME)}"
    return f"{can[0].TITLE} can prune it; {cannot[0].TITLE.lower()} cannot: {why}."
