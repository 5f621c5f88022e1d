"""The families by name: which module knows each, which names of timm it takes, and what can prune it.

Every family is a module beside this one that keeps the contract of `core.families.base`, and one entry of `FAMILIES`.
"""

from typing import Any, cast

import timm
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.errors import InputError
from core.families import deit, gap, latent, lvvit, pit, swin
from core.families.base import (
    Family,
    FlatFamily,
    Layout,
    OwnFamily,
    PooledFamily,
    SizedFamily,
    TokenFamily,
    WindowFamily,
)
from core.families.block import PreNorm
from core.families.views import Step

_FLAT: tuple[FlatFamily, ...] = (deit, gap, latent, lvvit)
_POOLED: tuple[PooledFamily, ...] = (pit,)
_WINDOWS: tuple[WindowFamily, ...] = (swin,)
FAMILIES: dict[str, Family] = {one.FAMILY: one for one in (*_FLAT, *_WINDOWS, *_POOLED)}


_SIZED: dict[str | None, SizedFamily] = {None: deit, lvvit.FAMILY: lvvit}
"""By the name that `train` calls them; None: where none is named."""


def sized_family(name: str | None) -> SizedFamily | None:
    """The family of models of any size that go by this name; None: it is a model's name."""
    return _SIZED.get(name)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"family {name}")
    return FAMILIES[name]


def family_of(model: nn.Module) -> Family:
    """The family of a backbone: that of the nearest class which a family says is its own.

    Raises:
        ValueError: If it is of none.
    """
    found = _family_of(model)
    if found is None:
        raise ValueError(f"a {type(model).__name__} is of no family")
    return found


def layout_of(model: nn.Module) -> Layout | None:
    """How the tokens of a backbone lie; None: it is of no family."""
    found = _family_of(model)
    return None if found is None else found.LAYOUT


def flat_family(model: nn.Module) -> FlatFamily:
    """The family of a backbone whose tokens are a sequence on one grid.

    Raises:
        ValueError: If they are not.
    """
    return cast(FlatFamily, _with_layout(model, "flat"))


def pooled_family(model: nn.Module) -> PooledFamily:
    """The family of a backbone whose stages have smaller and smaller grids.

    Raises:
        ValueError: If they have not.
    """
    return cast(PooledFamily, _with_layout(model, "pooled"))


def window_family(model: nn.Module) -> WindowFamily:
    """The family of a backbone whose attention sees windows.

    Raises:
        ValueError: If it does not.
    """
    return cast(WindowFamily, _with_layout(model, "windows"))


def staged_family(model: nn.Module) -> PooledFamily | WindowFamily:
    """The family of a backbone whose stages have smaller and smaller grids, whatever its attention sees.

    Raises:
        ValueError: If they have not.
    """
    return window_family(model) if layout_of(model) == "windows" else pooled_family(model)


def token_family(model: nn.Module) -> TokenFamily:
    """The family of a backbone, all of whose tokens may leave."""
    return cast(TokenFamily, family_of(model))


def blocks_of(model: nn.Module) -> list[PreNorm]:
    """All blocks of a backbone from the input on, L of them."""
    return family_of(model).blocks_of(model)


def stages_of(model: nn.Module) -> list[Any]:
    """What holds the blocks of a backbone, each as `blocks`, from the input on; a flat model itself."""
    return family_of(model).stages_of(model)


def walk(model: nn.Module, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block of a backbone.

    Raises:
        InputError: If the images are not of the model's size.
    """
    return family_of(model).walk(model, images, step)


def _with_layout(model: nn.Module, layout: Layout) -> Family:
    found = family_of(model)
    if layout != found.LAYOUT:
        raise ValueError(f"a {type(model).__name__} is {found.LAYOUT}, not {layout}")
    return found


def _family_of(model: nn.Module) -> Family | None:
    own = {one.BACKBONE: one for one in FAMILIES.values()}
    return next((own[kind] for kind in type(model).__mro__ if kind in own), None)


def family_of_geometry(geometry: Geometry) -> Family:
    """The family whose models have geometries of this class."""
    return next(module for module in FAMILIES.values() if module.GEOMETRY is type(geometry))


def family_of_own(name: str) -> OwnFamily | None:
    """The family of a model that has a name but is none of timm's; None: there is no such name."""
    return cast(OwnFamily | None, next((module for module in FAMILIES.values() if name in module.OWN_NAMES), None))


def family_of_timm(name: str) -> Family:
    """The family that one of timm's names (or one of ours) belongs to; what a name tells, before anything is built.

    Raises:
        InputError: If timm does not know the name, or no family takes it.
    """
    if own := family_of_own(name):
        return own
    if not timm.is_model(name):
        raise InputError(f"timm knows no model {name}; try deit_tiny_patch16_224.")
    for module in FAMILIES.values():
        if module.claims(name):
            return module
    raise InputError(f"{name} cannot be pruned here; choose {names()}.")


def names(method: str | None = None) -> str:
    """The families, as a sentence goes on; those that the method of that name can prune, or all."""
    return _either([module.NAMES for module in FAMILIES.values() if method is None or method in module.METHODS])


def baseline_names() -> str:
    """The families whose tokens can be merged, fused or dropped, as a sentence goes on."""
    return _either([module.NAMES for module in FAMILIES.values() if module.BASELINES])


def _either(found: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(found[:-1]), found[-1])))
