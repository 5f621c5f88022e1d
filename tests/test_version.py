"""The version: in what is written, and the same everywhere it stands."""

import json
import re
from pathlib import Path

from core.benchmarks.record import moment
from core.models.cards import card_from_json, card_to_json
from core.version import __version__
from tests.tiny import CARD

ROOT = Path(__file__).resolve().parent.parent


def test_a_card_says_which_version_wrote_it_and_reads_without_it() -> None:
    stored = json.loads(card_to_json(CARD))
    assert stored.pop("prunescope") == __version__
    assert card_from_json(json.dumps(stored)) == CARD


def test_a_benchmark_row_says_which_version_measured_it() -> None:
    assert moment()["prunescope"] == __version__


def test_the_newest_changes_and_the_citation_are_of_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)$", changes, re.MULTILINE)[0] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
