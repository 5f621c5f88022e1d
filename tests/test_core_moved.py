"""Modules of core under their names of before it had rooms: the same objects, nothing loaded twice."""

import subprocess
import sys
from importlib import import_module, reload
from pathlib import Path

import pytest

from core.moved import MOVED, answer_to_old_names

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_the_module_that_there_is_now(old: str) -> None:
    new = import_module(f"core.{MOVED[old]}")
    assert import_module(f"core.{old}") is new
    assert new.__spec__.name == new.__name__ == f"core.{MOVED[old]}"


def test_below_an_old_package_nothing_is_loaded_twice() -> None:
    assert import_module("core.backbones.deit") is import_module("core.families.deit")
    assert import_module("core.releases.soft_tokens") is import_module("core.models.releases.soft_tokens")


def test_an_old_name_is_found_first_in_a_new_process_and_the_new_one_after_it() -> None:
    script = (
        "import sys, core.json_text as old, core.files.json_text as new; from core.deit_counts import DeitGeometry; "
        "from core.costs import deit; assert old is new and deit.DeitGeometry is DeitGeometry; "
        "from core.config import Geometry; print('same', 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "same False\n"  # and what is light stays so


def test_a_module_that_never_was_is_still_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        import_module("core.nothing")
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        import_module("core.backbones.nothing")


def test_modules_can_be_loaded_again_after_their_old_names_were_used() -> None:
    module = import_module("core.json_text")
    assert reload(module) is module


def test_it_is_there_once() -> None:
    before = list(sys.meta_path)
    answer_to_old_names()
    assert sys.meta_path == before


def test_lines_that_programs_have_still_import() -> None:
    from core.checkpoints import load_model
    from core.models import load
    from core.photos import image
    from core.training.data import load_photo

    assert load_model is load.load_model
    assert load_photo is image.load_photo
