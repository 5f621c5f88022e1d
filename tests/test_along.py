"""What the panel "Share this view" prints runs, and gives the numbers of the page that it is on."""

import contextlib
import io
import json
import re
import shlex
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
from nbclient import NotebookClient

from core.__main__ import main
from core.config import ModelSpec
from core.inference.reproduce import command_line, python_lines
from core.models.load import load
from core.models.weights import save_checkpoint
from pages.parts.shared import notebook
from tests.test_pages import ROOT, assets, opened, photo_bytes, sent, sentence_of, texts, visit  # noqa: F401
from tests.tiny import CARD, backbone
from viz.theme import macs_number


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)


def run_all(commands: str, capsys) -> list[dict]:
    """The JSON of each command line; remarks are left out."""
    found = []
    for line in commands.splitlines():
        if not line.startswith("#"):
            words = shlex.split(line)
            assert words[:3] == ["python", "-m", "core"]
            assert main([*words[3:], "--json", "--device", "cpu"]) == 0, line
            found.append(json.loads(capsys.readouterr().out))
    return found


def run_python(lines: str) -> list[str]:
    """What the lines print."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(lines, "panel", "exec"), {})
    return out.getvalue().splitlines()


def lines_of(said: dict) -> list[str]:
    """What the lines of Python print for a photo of which `predict` said this."""
    kept = "" if said["kept"] is None else f" {tuple(said['kept'])}"
    return [f"{said['macs']}{kept}", *(f"{g['label']} {g['prob']}" for g in said["top5"])]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"method": "Keep ratio", "keep": "0.55"},
        {"model": "bundled-dense", "keep": "0.55", "blocks": "1,3"},
        {"model": "bundled-dense", "method": "Attention mass", "mass": "0.6", "blocks": "2"},
    ],
)
def test_tokens_page_is_reproduced_by_what_its_panel_prints(visit, assets, capsys, query) -> None:  # noqa: F811
    at = opened(visit("tokens", pic="Flower", **query))
    assert not at.exception
    _, commands, python, *_ = (block.value for block in at.code)
    dense, pruned = (found["images"][0] for found in run_all(commands, capsys))
    assert dense["file"] == pruned["file"] == str(assets / "samples" / "flower.jpg")
    shown = [m.value for m in at.metric]
    assert macs_number(pruned["macs"]) in shown
    assert macs_number(dense["macs"]) in shown
    assert f"{pruned['kept'][-1]} of 16 patches kept" in sentence_of(at)
    assert run_python(python) == [*lines_of(dense), *lines_of(pruned)]


def test_a_dense_model_comes_with_the_lines_that_put_it_on_the_hub(visit) -> None:  # noqa: F811
    at = opened(visit("tokens"))
    write = "python -m core export --model bundled-dense --hub-format --out my-model"
    assert at.code[-1].value == f"{write}\nhf upload USER/NAME my-model"


def test_architecture_page_is_reproduced_by_what_its_panel_prints(visit, capsys) -> None:  # noqa: F811
    at = opened(visit("architecture", budget="70"))
    _, commands, python, *_ = (block.value for block in at.code)
    described, predicted = run_all(commands, capsys)
    assert macs_number(described["macs"]) in str(sent(at)["figures"])
    image = predicted["images"][0]
    assert described["macs"] == image["macs"] <= 0.7 * image["dense_macs"]
    assert run_python(python) == lines_of(image)


def test_budget_and_compare_pages_print_commands_that_run(visit, capsys) -> None:  # noqa: F811
    for name in ("budget", "compare"):
        _, commands, python, *_ = (block.value for block in opened(visit(name)).code)
        predicting = "\n".join(line for line in commands.splitlines() if " predict " in line)
        images = [found["images"][0] for found in run_all(predicting, capsys)]
        assert len(images) > 1
        assert run_python(python) == [line for image in images for line in lines_of(image)]
        assert name == "compare" or "core evaluate --model bundled-dense --data DIR" in commands


@pytest.fixture
def notebooks(monkeypatch) -> list[nbformat.NotebookNode]:
    """The notebooks that panels offer from now on."""
    made, write = [], notebook.notebook

    def seen(*args, **settings) -> str:
        text = write(*args, **settings)
        made.append(nbformat.reads(text, as_version=4))
        nbformat.validate(made[-1])
        return text

    monkeypatch.setattr(notebook, "notebook", seen)
    return made


def code_of(book: nbformat.NotebookNode) -> list[str]:
    """Its code cells; what it says in words is left out."""
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def printed(book: nbformat.NotebookNode) -> list[str]:
    """What the code cells of a notebook that ran have printed."""
    found = [out for cell in book.cells for out in cell.get("outputs", []) if out.output_type == "stream"]
    return "".join(out.text for out in found if out.name == "stdout").splitlines()


def test_tokens_page_is_reproduced_by_its_notebook(visit, assets, notebooks, monkeypatch, tmp_path) -> None:  # noqa: F811
    at = opened(visit("tokens", pic="Flower", method="Keep ratio", keep="0.55"))
    python, (book,) = at.code[2].value, notebooks
    assert "Download as a notebook" in [button.label for button in at.download_button]
    monkeypatch.setenv("PRUNESCOPE_ASSETS", str(assets))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # as an editable install is
    NotebookClient(book, timeout=None, resources={"metadata": {"path": tmp_path}}).execute()
    said = printed(book)
    assert said == run_python(python)
    shown = [metric.value for metric in at.metric]
    macs = [int(found[1]) for line in said if (found := re.match(r"(\d+)(?: \(|$)", line))]
    assert len(macs) == 2
    assert all(macs_number(count) in shown for count in macs)
    pictures = [out for cell in book.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) == 1
    assert "prunescope" in book.cells[0].source.lower()
    assert at.code[0].value in book.cells[0].source


def test_architecture_page_is_reproduced_by_its_notebook(visit, notebooks, capsys) -> None:  # noqa: F811
    at = opened(visit("architecture", budget="70"))
    (described, _), (book,) = run_all(at.code[1].value, capsys), notebooks
    said = run_python("\n".join(code_of(book)))
    assert said[0] == str(described["macs"])
    assert macs_number(int(said[0])) in str(sent(at)["figures"])
    each = zip(described["mixers"], described["ffn_hidden"], strict=True)
    blocks = [f"{block} {mixer} {hidden}" for block, (mixer, hidden) in enumerate(each, start=1)]
    assert said[-len(blocks) :] == blocks


def test_compare_page_is_reproduced_by_its_notebook(visit, notebooks) -> None:  # noqa: F811
    at = opened(visit("compare", pic="Flower"))
    (book,) = notebooks
    *cells, last = code_of(book)
    assert last == "agreement(*answers.values())"
    (shown,) = [metric.value for metric in at.metric if metric.label.startswith("KL of ")]
    assert run_python("\n".join([*cells, f'print(f"{{{last}.kl_nats:.3f}}")']))[-1] == shown


def test_a_notebook_of_an_upload_asks_for_its_file_and_odd_names_survive(visit, notebooks) -> None:  # noqa: F811
    at = opened(visit("tokens", pic="Your own"))
    at.file_uploader[0].upload('my "photo".jpg', photo_bytes()).run()
    book = notebooks[-1]
    assert 'photo = open_photo(Path("my \\"photo\\".jpg").read_bytes())' in code_of(book)[0]
    assert "give the path of its file" in book.cells[0].source
    compile("\n".join(code_of(book)), "notebook", "exec")


def test_the_link_reopens_the_view(visit) -> None:  # noqa: F811
    at = opened(visit("tokens", pic="Cat", method="Keep ratio", keep="0.55", stage="1"))
    query = {key: values[0] for key, values in parse_qs(urlsplit(at.code[0].value).query).items()}
    assert query == {"pic": "Cat", "model": "bundled-tokens", "method": "Keep ratio", "keep": "0.55", "stage": "1"}
    again = visit("tokens", **query)
    assert [m.value for m in again.metric] == [m.value for m in at.metric]


def test_a_link_made_with_an_upload_says_what_others_see(visit) -> None:  # noqa: F811
    at = opened(visit("tokens", pic="Your own"))
    assert "is not part of it" not in texts(at)
    at.file_uploader[0].upload("my photo.jpg", photo_bytes()).run()
    assert "Your picture is not part of it" in texts(at)
    assert "'my photo.jpg'" in at.code[1].value
    assert "upload" not in at.code[0].value


def test_class_names_and_odd_paths_survive_shell_and_python(tmp_path, capsys) -> None:
    weights, names = tmp_path / 'it\'s "mine".safetensors', tmp_path / "my names.txt"
    save_checkpoint(weights, backbone(), CARD)
    names.write_text("ant\nbee\ncat\n")
    model, photo = load(ModelSpec(str(weights))), "tests/assets/samples/cat.jpg"
    (found,) = run_all(command_line("predict", model, photo, str(names)), capsys)
    assert {g["label"] for g in found["images"][0]["top5"]} == {"ant", "bee", "cat"}
    assert run_python(python_lines([model], photo, [str(names)])) == lines_of(found["images"][0])
    assert "--classes" not in command_line("describe", model, classes=str(names))


@pytest.mark.parametrize(("share", "said"), [(0.6, "60%"), (0.455, "45.5%"), (1 / 3, None)])
def test_a_budget_is_printed_as_it_was_asked_or_to_the_last_digit(share, said) -> None:
    dense = load(ModelSpec("bundled-singlepath")).dense_macs
    spec = ModelSpec("bundled-singlepath", budget=share * dense)
    printed = shlex.split(command_line("describe", load(spec)))[-1]
    assert printed == (said or repr(spec.budget / 1e9))
