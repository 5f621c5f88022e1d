"""The families by name: which module knows each, which names of timm it takes, and what can prune it.

Every family is a module beside this one that offers `FAMILY`, `METHODS`, `NAMES` (for sentences), `GEOMETRY` (the
config class), `geometry_from(raw)` (the same from JSON), `claims(timm_name)`, `build(geometry, drop_path=)`,
`from_timm(name, pretrained=, ...)`, `geometry_of(model, timm_name)` and `normalisation_of(model)`; one that timm lacks
offers `OWN_NAMES`, and `not_by_name(name)` for where their weights are; one that a method cannot take may say why as
`WHY_NOT`.
"""

from types import ModuleType

import timm

from core.backbones import deit, lvvit, pit, swin
from core.config import Geometry
from core.errors import InputError

FAMILIES: dict[str, ModuleType] = {module.FAMILY: module for module in (deit, lvvit, swin, pit)}
METHOD_NAMES = {"tokens": "Soft token pruning", "singlepath": "Single-path pruning"}


def family(name: str) -> ModuleType:
    """The module of that family.

    Raises:
        ValueError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"family {name}")
    return FAMILIES[name]


def family_of_geometry(geometry: Geometry) -> ModuleType:
    """The family whose models have geometries of this class."""
    return next(module for module in FAMILIES.values() if module.GEOMETRY is type(geometry))


def family_of_own(name: str) -> ModuleType | None:
    """The family of a model that has a name but is none of timm's; None: there is no such name."""
    return next((module for module in FAMILIES.values() if name in getattr(module, "OWN_NAMES", ())), None)


def family_of_timm(name: str) -> ModuleType:
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
    """The families, as a sentence goes on; those that `method` ("tokens" or "singlepath") can prune, or all."""
    found = [module.NAMES for module in FAMILIES.values() if method is None or method in module.METHODS]
    return " or ".join(filter(None, (", ".join(found[:-1]), found[-1])))


def methods_sentence(name: str) -> str:
    """Which of the two methods can prune a family, and why not the other; a family may say why as `WHY_NOT`."""
    module = family(name)
    can = [said for method, said in METHOD_NAMES.items() if method in module.METHODS]
    cannot = [method for method in METHOD_NAMES if method not in module.METHODS]
    if not cannot:
        return "Both methods can prune it."
    why = getattr(module, "WHY_NOT", f"it takes {names(cannot[0])}")
    return f"{can[0]} can prune it; {METHOD_NAMES[cannot[0]].lower()} cannot: {why}."


def check_method(name: str, method: str) -> None:
    """Refuse a family that a method cannot take.

    Raises:
        InputError: If `method` ("tokens" or "singlepath") cannot prune the family `name`; it names those it can.
    """
    if method not in family(name).METHODS:
        raise InputError(f"{METHOD_NAMES[method]} cannot take {name} models; it takes {names(method)}.")
