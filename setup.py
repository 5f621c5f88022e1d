"""How the wheel is made: the repository's folders below one importable name, and its dependencies from its own lists.

All that is not here is in pyproject.toml.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NAME = "prunescope"
FOLDERS = ("core", "viz", "pages")
FOLDER = rf"(?:{'|'.join(FOLDERS)})"
IMPORTS = re.compile(rf"^import ({FOLDER})$|\b(from|import) (?={FOLDER}\b)", re.MULTILINE)
"""Also in lines of Python that are shown to people."""
COMMAND = "python -m core"
ASSETS = ("samples/*", "*.json", "differences.md")
"""Of assets/, what the app and the commands read: no weights, of which each has tens of megabytes."""
PIN = re.compile(r"([\w.\[\]-]+)==((\d+)[\w.]*)")


def installed_text(source: str) -> str:
    """A module's source as it is installed: `core` is `prunescope.core`, `python -m core` is `prunescope`."""
    named = IMPORTS.sub(lambda one: f"from {NAME} import {one[1]}" if one[1] else f"{one[2]} {NAME}.", source)
    return named.replace(COMMAND, NAME)


def direct(file: str, section: str = "") -> list[str]:
    """One section of direct dependencies: from the pinned version on, below the next major one."""
    head = f"# --- Direct dependencies{section and f': {section}'} ---\n"
    lines = Path(file).read_text(encoding="utf-8").partition(head)[2].partition("\n\n")[0].splitlines()
    return [PIN.sub(lambda pin: f"{pin[1]}>={pin[2]},<{int(pin[3]) + 1}", line) for line in lines]


class BuildBelowOneName(build_py):
    """`build_py` that moves all below `prunescope`; an editable install is the repository as it is."""

    def run(self) -> None:
        """Copy, move and rewrite."""
        if self.editable_mode:
            super().run()
            return
        built = Path(self.build_lib)
        shutil.rmtree(built, ignore_errors=True)  # what an earlier build left
        super().run()
        for part in (*FOLDERS, "app.py"):
            shutil.move(built / part, built / NAME / part)
        for path in built.rglob("*.py"):
            path.write_text(installed_text(path.read_text(encoding="utf-8")), encoding="utf-8")
        for source in (Path(".streamlit/config.toml"), *(path for one in ASSETS for path in Path("assets").glob(one))):
            target = built / NAME / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


setup(
    cmdclass={"build_py": BuildBelowOneName},
    install_requires=direct("requirements.txt"),
    extras_require={
        "app": direct("requirements.txt", "app"),
        "engines": direct("requirements.txt", "engines"),
        "dev": direct("requirements-dev.txt", "dev"),
    },
)
