"""A view as a notebook for Jupyter: its models with their settings, their numbers and pictures."""

from collections.abc import Mapping
from pathlib import Path

from core.files.json_text import json_text
from core.inference.reproduce import Lines, quoted
from core.models.load import Loaded
from core.version import __version__

PACKAGE = "from prunescope."
MIME = "application/x-ipynb+json"
KEPT = "pruned_photo(model_view(photo, model.card), trace, len(trace.blocks))"
"""The photo behind the last selector."""


def notebook(title: str, link: str, shown: Mapping[str, Loaded], lines: Lines, remark: str = "") -> str:
    """The text of an .ipynb file, which runs where Prunescope is installed, and in its repository.

    Args:
        title: Of the page.
        link: Of the view.
        shown: The models that the page shows, by what it calls them.
        lines: Of these models, see `core.inference.reproduce.python_parts`.
        remark: A sentence for whoever opens it.
    """
    first, *others = shown.values()
    compared = len(others) == 1 and first.card.classes == others[0].card.classes
    imports = [*lines.imports]
    imports += ["from core.models.registry import ASSETS"] if "ASSETS" in lines.photo else []
    imports += ["from core.inference.agreements import agreement"] if compared else []
    if any(loaded.card.selectors is not None for loaded in shown.values()):
        imports += ["from core.photos.image import model_view", "from viz.tokens import pruned_photo"]
    code = "\n".join(line for part in ((lines.photo,), *lines.models) for line in part)
    opening = ["from pathlib import Path", ""] if "Path(" in code else []
    cells = [
        _text(
            f"# {title}, as Prunescope {__version__} shows it",
            f"[The view]({link}) in the app. This notebook computes its numbers anew: with Prunescope installed, or in "
            "a folder of its repository. An installed Prunescope has no weights: the environment variable "
            "`PRUNESCOPE_ASSETS` names the folder of the bundled models.",
            *filter(None, [remark]),
        ),
        _code(*opening, *_either(imports), "", lines.photo, "answers = {}"),
    ]
    for (label, loaded), each in zip(shown.items(), lines.models, strict=True):
        cells += [
            _text(f"## {label}", "Multiply-adds, patches kept by each selector if it has any, and the five best."),
            _code(*each, f"answers[{quoted(label)}] = answer"),
        ]
        if loaded.card.selectors is not None:
            cells += [_text("What the selectors left: darkened patches are in package tokens."), _code(KEPT)]
        if loaded.architecture is not None:
            cells += [
                _text("What each block became, and the hidden units of its FFN."),
                _code(
                    "made = model.architecture",
                    "for block, (mixer, hidden) in enumerate(zip(made.mixers, made.ffn_hidden), start=1):",
                    "    print(block, mixer, hidden)",
                ),
            ]
    if compared:
        cells += [
            _text("## Do they agree?", "`kl_nats` is 0 where they agree in everything."),
            _code("agreement(*answers.values())"),
        ]
    numbered = [cell | {"id": f"cell-{number}"} for number, cell in enumerate(cells)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json_text({"cells": numbered, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def file_name(page: str) -> str:
    """What the notebook of a page's script is called."""
    return f"prunescope-{Path(page).stem}.ipynb"


def _either(imports: list[str]) -> list[str]:
    """Lines that import from the installed package, or from the repository's folders."""
    bare = [line.replace(PACKAGE, "from ") for line in imports]  # as they stand in a wheel, they name it already
    packaged = [PACKAGE + line.removeprefix("from ") for line in bare]
    return [
        "try:",
        *(f"    {line}" for line in packaged),
        "except ModuleNotFoundError:  # in the repository",
        *(f"    {line}" for line in bare),
    ]


def _text(*paragraphs: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n\n".join(paragraphs)}


def _code(*lines: str) -> dict:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": "\n".join(lines),
        "execution_count": None,
        "outputs": [],
    }
