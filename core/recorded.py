"""Evaluations recorded beside the bundled models: measured once by `python -m core evaluate`, read by the app."""

import json
from dataclasses import asdict
from pathlib import Path

from core.errors import InputError
from core.files import write_text
from core.registry import ASSETS
from core.results import Recorded

RECORDED = ASSETS / "evaluations.json"


def recorded_evaluations() -> tuple[Recorded, ...]:
    """All rows of assets/evaluations.json, in its order; none if the file is not there."""
    return read_rows(RECORDED)


def read_rows(path: Path) -> tuple[Recorded, ...]:
    """All rows of a file of recorded evaluations; none if it is not there.

    Raises:
        InputError: If it is no such file.
    """
    if not path.is_file():
        return ()
    try:
        return tuple(Recorded(**row) for row in json.loads(path.read_text())["rows"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} holds no recorded evaluations; name another file.") from error


def add_row(path: Path, row: Recorded) -> None:
    """Put one row into the file, in place of an older one of the same model and setting.

    Raises:
        InputError: If the file is something else, or cannot be written.
    """
    rows = [old for old in read_rows(path) if (old.model, old.setting) != (row.model, row.setting)]
    text = json.dumps({"rows": [asdict(r) for r in [*rows, row]]}, indent=1) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error
