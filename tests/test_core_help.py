"""Help and wrong flags answer at once: what takes long to import is imported by the command that needs it."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from core.commands import parsers
from core.commands.table import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "torchvision", "timm", "accelerate", "numpy", "PIL"}
ASK_THE_LIBRARY = {"search", "bench"}
"""Their flags' help names what the families and the schedules hold."""


def imported(*arguments: str) -> set[str]:
    """Names before the first dot of all modules that Python imports when it is called so."""
    command = [sys.executable, "-X", "importtime", *arguments]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr
    return set(re.findall(r"^import time:.*\| *(\w+)", said, re.MULTILINE))


@pytest.mark.parametrize("arguments", [("--help",), (), ("nothing",), ("--version",)])
def test_what_needs_no_command_imports_no_library(arguments) -> None:
    found = imported("-m", "core", *arguments)
    assert "argparse" in found
    assert found.isdisjoint(HEAVY)


def test_help_and_wrong_flags_of_a_command_import_no_torch() -> None:
    names = sorted(COMMANDS.keys() - ASK_THE_LIBRARY)
    calls = [[name, flag] for name in names for flag in ("--help", "--nothing")]
    found = imported("-c", f"from core.__main__ import main\nfor call in {calls}:\n    main(call)")
    assert "argparse" in found
    assert found.isdisjoint(HEAVY - {"numpy"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_leads_to_the_flags_and_to_the_work(name) -> None:
    assert callable(getattr(parsers, f"add_{name}"))
    assert callable(getattr(import_module(f"core.commands.{COMMANDS[name].module}"), f"run_{name}"))
