"""The wheel: built, installed where the repository is not, and used there beside this environment's packages."""

import json
import os
import re
import site
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page, expect

from core.version import __version__
from tests.serving import START_S
from tests.small_assets import SMALL_ASSETS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(_copied(folder))]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def _copied(folder: Path) -> Path:
    """The files that git knows, elsewhere: a build leaves its own beside them."""
    copy = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment that has the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


def _environment() -> dict[str, str]:
    """This one's, where nothing points to the repository."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PRUNESCOPE_ASSETS")}


def _said(command: list, folder: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_has_one_importable_name_and_no_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
        sources = {name: held.read(name).decode() for name in names if name.endswith(".py")}
    assert {name.partition("/")[0] for name in names} == {"prunescope", f"prunescope-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".safetensors", ".onnx"))]
    old = re.compile(r"from (core|viz|pages)\b|^import (core|viz|pages)\b|python -m core", re.MULTILINE)
    assert not [name for name, text in sources.items() if old.search(text)]


@pytest.mark.slow
def test_installed_commands_say_their_own_name(installed: Path, tmp_path: Path) -> None:
    told = _said([installed / "prunescope", "--help"], tmp_path)
    assert told.startswith("usage: prunescope ")
    assert "`prunescope app` opens the app" in told
    assert _said([installed / "prunescope", "--version"], tmp_path) == f"Prunescope {__version__}\n"
    refused = subprocess.run(
        [installed / "prunescope", "describe", "--model", "bundled-none"],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "`prunescope models` lists what can be loaded" in refused.stderr


@pytest.mark.slow
def test_installed_predict_answers_as_the_repository_does(installed: Path, tmp_path: Path) -> None:
    photo, model = SMALL_ASSETS / "samples" / "cat.jpg", SMALL_ASSETS / "bundled-tokens.safetensors"
    words = ["predict", photo, "--model", model, "--keep", "0.5,0.3,0.2", "--json"]
    answers = [
        json.loads(_said([*command, *words], folder))["images"][0]
        for command, folder in (
            ([installed / "prunescope"], tmp_path),
            ([sys.executable, "-m", "core"], ROOT),
        )
    ]
    for answer in answers:
        del answer["latency_ms"], answer["dense_latency_ms"]
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_installed_modules_are_there_once_each_beside_a_core_of_somebody_else(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "core.py").write_text("whose = 'theirs'")
    lines = (
        "import sys, core, prunescope.core.models.load, prunescope.core.images\n"
        "assert core.whose == 'theirs'\n"
        "assert prunescope.core.images is prunescope.core.photos.image\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'core', 'viz', 'pages', 'prunescope'}))"
    )
    assert _said([installed / "python", "-c", lines], tmp_path) == "['core', 'prunescope']\n"


@pytest.fixture
def app(installed: Path, tmp_path: Path) -> Iterator[str]:
    """Address of the installed app, as it is without weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [installed / "prunescope", "app", "--server.port", str(port), "--server.headless", "true"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=_environment(), stdout=log, stderr=log)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with direct.open(f"http://localhost:{port}/_stcore/health", timeout=2) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                time.sleep(0.1)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_installed_app_opens_and_says_what_is_missing(app: str, page: Page) -> None:
    page.goto(f"{app}/tokens")
    expect(page.get_by_role("heading", name="Which patches does the model keep?")).to_be_visible()
    expect(page.get_by_text("There is no model with token selectors on this machine yet")).to_be_visible()
    page.goto(app)
    expect(page.get_by_text("Where paper, release and Prunescope differ")).to_be_visible()


@pytest.fixture
def kernel(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a Jupyter kernel in the environment that has the wheel, with the small models."""
    command = [str(installed / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "installed", "language": "python"}
    folder = tmp_path / "jupyter" / "kernels" / "installed"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec | {"env": {"PRUNESCOPE_ASSETS": str(SMALL_ASSETS)}}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return folder.name


def test_the_example_notebook_runs_in_an_installed_package(kernel: str, tmp_path: Path) -> None:
    book = nbformat.read(ROOT / "notebooks" / "first_steps.ipynb", as_version=4)
    NotebookClient(book, timeout=None, kernel_name=kernel, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [out for cell in book.cells for out in cell.get("outputs", [])]
    told = "".join(out.text for out in outputs if out.output_type == "stream" and out.name == "stdout")
    assert re.search(r"^\d+% of the dense model's multiply-adds; patches left: ", told, re.MULTILINE)
    assert len(re.findall(r"^block +\d+: (?:msa|conv3x3|conv1x1|skip) ", told, re.MULTILINE)) == 12
    share = re.search(r"^(\d+)% of the multiply-adds: ", told, re.MULTILINE)
    assert share is not None
    assert 30 <= int(share[1]) <= 60
    assert [out for out in outputs if "image/png" in out.get("data", {})]


@pytest.mark.slow
def test_a_notebook_that_an_installed_page_offers_runs_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    lines = """
import json
from prunescope.core.config import ModelSpec
from prunescope.core.inference.reproduce import python_parts
from prunescope.core.models.load import load
from prunescope.pages.parts.shared.notebook import notebook
model = load(ModelSpec("bundled-tokens", keep=(0.5, 0.3, 0.2)))
parts = python_parts([model], '(ASSETS / "samples" / "cat.jpg")')
for cell in json.loads(notebook("Tokens", "", {"Pruned": model}, parts))["cells"]:
    if cell["cell_type"] == "code":
        exec(cell["source"])
print(load.__module__)
"""
    setting = f"import os\nos.environ['PRUNESCOPE_ASSETS'] = {str(SMALL_ASSETS)!r}\n"
    told = _said([installed / "python", "-c", setting + lines], tmp_path).splitlines()
    assert re.match(r"\d+ \(\d+, \d+, \d+\)$", told[0])
    assert told[-1] == "prunescope.core.models.load"
