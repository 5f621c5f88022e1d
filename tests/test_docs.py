"""The documentation: every line of it runs, and no reference in it or in a docstring leads nowhere."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from core.__main__ import main
from docs.references import broken_links, broken_names, findings, is_there
from tests.small_assets import SMALL_ASSETS
from tests.tiny import draw_folder

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OTHERS = {"make lint", "make docs", "make test"}
"""What continuous integration runs."""


def lines_of(page: str) -> list[tuple[str, str]]:
    """What a page tells a person to run, in its order: "python" and a whole block, or "sh" and a line."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = BLOCKS.findall(text)
    return [(kind, part) for kind, block in blocks for part in ([block] if kind == "python" else block.splitlines())]


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages take for granted: a photo, and photos of three classes."""
    for name in ("cat.jpg", "photo.jpg"):
        shutil.copyfile(SMALL_ASSETS / "samples" / "cat.jpg", tmp_path / name)
    draw_folder(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(kind: str, part: str) -> None:
    if kind == "python":
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(part, "docs", "exec"), {})
    elif part not in OTHERS:
        words = shlex.split(part)
        assert words[:3] == ["python", "-m", "core"], part
        AcceleratorState._reset_state()  # each command is a process of its own
        assert main(words[3:]) == 0, part


@pytest.mark.parametrize("page", ["methods.md", "extend.md"])
def test_every_line_of_a_page_runs(page, at_hand) -> None:
    parts = lines_of(page)
    assert len(parts) > 3
    for kind, part in parts:
        run(kind, part)


@pytest.mark.slow
def test_every_line_about_your_own_model_and_photos_runs(at_hand) -> None:
    for kind, part in lines_of("your-own.md"):
        run(kind, part)
    left = {"answers.jsonl", "for-the-hub", "scored.safetensors", "small.onnx", "small.pt2"}
    assert left <= {path.name for path in at_hand.iterdir()}


def test_the_first_lines_about_your_own_model_run(at_hand) -> None:
    for kind, part in lines_of("your-own.md")[:4]:
        run(kind, part)
    assert (at_hand / "mine.safetensors").is_file()


def test_no_reference_leads_nowhere() -> None:
    assert findings() == []


@pytest.mark.parametrize(
    "name",
    ["core", "core.images", "core.images.MAX_UPLOAD_MB", "core.config.ModelSpec.keep", "pages.server", "viz.tokens"],
)
def test_a_name_that_is_there_is_found(name) -> None:
    assert is_there(name, ROOT)


@pytest.mark.parametrize(
    "name", ["core.nothing", "core.config.Nothing", "core.config.ModelSpec.nothing", "viz.tokens.x"]
)
def test_a_name_that_is_nowhere_is_found_out(name) -> None:
    assert not is_there(name, ROOT)
    assert broken_names(f"See `{name}`.", ROOT) == [name]


def test_plain_names_and_links_that_lead_nowhere_are_found_out(tmp_path) -> None:
    assert broken_names("`kept` and `lost`, run by `timeit`, for `run_NAME`", ROOT, {"kept"}) == ["lost"]
    (tmp_path / "there.md").touch()
    text = "[a](there.md#part) [b](gone.md) [c](https://example.org/x) ![d](gone.png)"
    assert broken_links(text, tmp_path) == ["gone.md", "gone.png"]
