"""Single-path pruning as a method: what a weights file says of it, and how a model is built, set and counted with it.

Keeps the contract of `core.methods.Method`.
"""

import math
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import nn

from core.config import BUDGET_RANGE, ModelSpec
from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.families.base import Backbone
from core.results import MIXERS, Architecture, MacCount, Mixer
from core.single_path.calibrate import use_budget
from core.single_path.compact import carve, compact
from core.single_path.derive import derive, gates_of, settled
from core.single_path.model import SinglePathViT
from core.single_path.searched import Gates

NAME, TITLE = "singlepath", "Single-path pruning"
COMMAND = "search"
RANGES = {"budget": BUDGET_RANGE}


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


PARTS = {"single_path": SinglePathCard, "compact": CompactCard}


def build(model: Backbone, geometry: Geometry, part: SinglePathCard | CompactCard) -> nn.Module:
    """The search form of a dense model, or its compact form, with fresh weights."""
    if isinstance(part, CompactCard):
        passes = {"prefix_passes": part.prefix_passes, "skip_passes": part.skip_passes}
        return carve(model, part.mixers, part.ffn_hidden, in_windows=part.in_windows, **passes)
    semantics = {"prefix_passes": part.prefix_passes, "in_windows": part.in_windows, "shifts": part.shifts}
    return SinglePathViT(model, part.alpha, part.budgets, **semantics)


def asks(
    spec: ModelSpec, model: nn.Module, geometry: Geometry, part: SinglePathCard | CompactCard | None, *, alone: bool
) -> bool:
    """Whether a budget is asked of a model that has no gates to meet it with.

    What was put into a compact form was made for one budget: that, and any above, is met.

    Raises:
        InputError: If such a model cannot meet the budget.
    """
    if spec.budget is None or isinstance(model, SinglePathViT):
        return False
    if alone or not isinstance(part, CompactCard):
        return True
    made = compact_architecture(geometry, part)
    if spec.budget < made.macs * (1 - 1e-9):
        asked = made.asked_macs or made.macs
        raise InputError(
            f"{spec.name} was made for one budget, {asked / 1e9:.4g} GMACs ({100 * asked / made.dense_macs:.3g}% "
            "of dense); ask for that or more, or lower its keep ratios."
        )
    return False


def put_in(spec: ModelSpec, model: nn.Module) -> NoReturn:
    """Gates come from a search or from scores, never from a setting.

    Raises:
        InputError: Always.
    """
    raise InputError(f"{spec.name} has no gates, so it takes no budget.")


def finish(
    spec: ModelSpec, model: nn.Module, geometry: Geometry, part: SinglePathCard | CompactCard
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that runs at the budget of the settings, frozen, and what `Loaded` says of it besides.

    Raises:
        InputError: If the budget cannot be met.
    """
    known: dict[str, Any] = {}
    if isinstance(part, CompactCard):
        known["architecture"] = compact_architecture(geometry, part)
        if part.stored_params is not None:
            known["stored_params"] = part.stored_params
    elif isinstance(model, SinglePathViT):
        gates = gates_of(model, geometry)
        made = chosen(model, gates, spec)
        model, known = compact(model, made), {"gates": gates, "architecture": made}
    model.eval().requires_grad_(False)
    return model, known


def compact_architecture(geometry: Geometry, part: CompactCard) -> Architecture:
    """What a compact model's card says that it was made into."""
    return Architecture(
        mixers=part.mixers,
        ffn_hidden=part.ffn_hidden,
        ffn_full=tuple(max(both) for both in zip(geometry.ffn_widths, part.ffn_hidden, strict=True)),
        macs=count_macs(geometry, mixers=part.mixers, ffn_hidden=part.ffn_hidden).total,
        dense_macs=count_macs(geometry).total,
        asked_macs=part.asked_macs,
    )


def chosen(model: SinglePathViT, gates: Gates, spec: ModelSpec) -> Architecture:
    """The architecture that a single-path model runs: of its budget, or of the calibrated budget next below it.

    Without a budget: the gates' own decisions, or the largest calibrated budget.

    Raises:
        InputError: If the budget is below what can be reached, or below all that the model was trained for.
    """
    if not model.budgets:
        return settled(gates) if spec.budget is None else derive(gates, spec.budget)
    dense = count_macs(gates.geometry).total
    asked = dense if spec.budget is None else spec.budget
    fitting = [i for i, share in enumerate(model.budgets) if share * dense <= asked * (1 + 1e-9)]
    if not fitting:
        least = model.budgets[0]
        raise InputError(
            f"{spec.name} was trained to work from {least:.0%} of the dense MACs on ({least * dense / 1e9:.4g} GMACs); "
            f"ask for that or more."
        )
    use_budget(model, fitting[-1])
    return derive(gates, model.budgets[fitting[-1]] * dense)


def macs(geometry: Geometry, made: Architecture | None) -> MacCount:
    """MACs of one image: of an architecture, or of the dense model."""
    if made is None:
        return count_macs(geometry)
    return count_macs(geometry, mixers=made.mixers, ffn_hidden=made.ffn_hidden)
