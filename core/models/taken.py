"""Which backbones are taken, as one table for the README, the commands and the app; and how many of timm's those are.

The rows are what the families say of themselves (`core.families.base.Backbones`), so the tables cannot differ.
"""

from dataclasses import dataclass

import timm
import torch

from core.errors import InputError
from core.families.base import NO_HEAD, OWN_HEAD
from core.families.families import FAMILIES, family_of_timm
from core.families.timm_models import no_classes
from core.methods import METHODS, takes

HEADINGS = ("Backbone", "timm's names", "Classifier", *(method.TITLE for method in METHODS))
YES, NO = "yes", "no"


def rows() -> tuple[tuple[str, ...], ...]:
    """A cell for each of `HEADINGS`, by kind of backbone."""
    return tuple(
        (kind.what, kind.names, kind.head, *(YES if takes(method, name) else NO for method in METHODS))
        for name, module in FAMILIES.items()
        for kind in module.TAKEN
    )


def markdown() -> str:
    """The table, as Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plain() -> str:
    """The same for a terminal."""
    cells = [[cell.replace("`", "") for cell in row] for row in (HEADINGS, *rows())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


@dataclass(frozen=True)
class TimmName:
    """One of timm's architectures."""

    name: str
    family: str | None
    """That takes it; None: none does."""
    head: str | None
    """`OWN_HEAD` or `NO_HEAD`; None: it is not taken."""
    why_not: str | None
    """A sentence; None: it is taken."""


def timm_name(name: str) -> TimmName:
    """Whether one of timm's architectures is taken: it is built, without memory, and its geometry read."""
    try:
        module = family_of_timm(name)
        headless = no_classes(name) is not None  # of timm's usual weights of this name
        with torch.device("meta"):
            module.geometry_of(module.from_timm(name, classes=1000 if headless else None), name)
    except InputError as error:
        return TimmName(name, None, None, str(error))
    return TimmName(name, module.FAMILY, NO_HEAD if headless else OWN_HEAD, None)


def timm_names() -> tuple[TimmName, ...]:
    """The same of all that the installed timm has; takes about a minute."""
    return tuple(map(timm_name, timm.list_models()))


def counted(names: tuple[TimmName, ...]) -> str:
    """How many of them are taken, as a sentence."""
    own, none = (sum(one.head == head for one in names) for head in (OWN_HEAD, NO_HEAD))
    return (
        f"Of the {len(names):,} architectures in timm {timm.__version__}, {own + none} load: {own} with a classifier "
        f"of their own, {none} as features that `train --probe` gives one."
    )
