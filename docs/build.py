"""`make docs`: the reference of core and viz as web pages, from their docstrings; fails where a reference is broken."""

import shutil
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.doc
import pdoc.render

from core.version import __version__
from docs.references import findings

MODULES = ("core", "viz")
"""Not the pages: to import one is to run it."""


def build(folder: Path) -> list[str]:
    """Write the pages into a folder, which is emptied first.

    Returns:
        What pdoc complains of: a module that cannot be imported, a type that cannot be read.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"Prunescope {__version__}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*MODULES, output_directory=folder)
    return [str(one.message) for one in caught if "pdoc" in Path(one.filename).parts]


def main() -> None:
    """Build into the folder that the command line names; exit status 1 and a line for each broken reference."""
    folder = Path(sys.argv[1])
    broken = [*findings(), *build(folder)]
    print("\n".join(broken) or f"{folder / 'index.html'}: no broken reference")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
