"""Many photos: one line each whatever happens, the same totals on one process or two, and little memory."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.__main__ import main
from core.commands import sweeping
from core.config import ModelSpec
from core.errors import InputError
from core.inference.trace import trace_tokens
from core.models.cards import SelectorCard
from core.models.load import load
from core.models.weights import save_checkpoint
from core.photos.image import load_photo
from core.photos.listing import PhotoList, list_photos
from core.photos.loader import AHEAD, Photos, Share, photo_loader
from tests.tiny import CARD, backbone, draw_folder, token_model

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = 39  # 3 classes of 13: batches of 4 leave a last one of 3


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Two models and two folders of photos; in `torn`, one photo is a text."""
    root = tmp_path_factory.mktemp("sweep")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD)
    save_checkpoint(root / "other.safetensors", backbone(seed=1), CARD)
    tokens = replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    save_checkpoint(root / "tokens.safetensors", token_model(), tokens)
    draw_folder(root / "data", per_class=PHOTOS // 3)
    draw_folder(root / "torn", per_class=2)
    (root / "torn" / "val" / "green" / "000.png").write_text("no picture")
    return root


def command(work: Path, name: str, *rest: object, model: str = "tokens", data: str = "data/val") -> list[str]:
    """A command on a folder."""
    given = ["--data", work / data] if name == "evaluate" else [work / data]
    return [str(part) for part in (name, *given, "--model", work / f"{model}.safetensors", "--json", *rest)]


def call(capsys: pytest.CaptureFixture, arguments: Sequence[str]) -> dict:
    """Run it here; its object."""
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture, arguments: Sequence[str]) -> str:
    """Run it here; the one sentence that it ends with."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().count("\n") == 0
    return captured.err


def rows_of(path: Path) -> list[dict]:
    """All lines after the header."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def totals(found: dict) -> dict:
    """What must not depend on how the run went."""
    return {key: found[key] for key in ("images", "left_out", "unreadable", "top1", "top5", "mean_macs")}


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_file_has_one_line_per_photo_in_the_order_of_the_folders(name, work, tmp_path, capsys) -> None:
    out = tmp_path / "out.jsonl"
    found = call(capsys, command(work, name, "--out", out, "--batch", 4))
    rows = rows_of(out)
    assert [row["file"] for row in rows] == sorted(str(path) for path in (work / "data/val").rglob("*.png"))
    said = {"evaluate": {"top1", "correct", "in_top5"}, "predict": {"top5"}}[name]
    assert {frozenset(row) for row in rows} == {frozenset({"file", "macs", "kept"} | said)}
    assert found["photos"] == PHOTOS
    if name == "evaluate":
        assert found["top1"] == sum(row["correct"] for row in rows) / PHOTOS
        assert found["mean_macs"] == sum(row["macs"] for row in rows) / PHOTOS
        assert all(row["correct"] == (row["top1"]["label"] == Path(row["file"]).parent.name) for row in rows)


def test_a_folder_is_predicted_as_its_photos_are_one_by_one(work, capsys) -> None:
    found = call(capsys, command(work, "predict", "--batch", 5, "--workers", 0))
    loaded = load(ModelSpec(str(work / "tokens.safetensors")))
    for row in found["images"][::7]:
        alone = trace_tokens(loaded, load_photo(Path(row["file"])))
        assert row["kept"] == list(alone.kept_counts)
        assert row["macs"] == alone.macs.total
        assert [g["label"] for g in row["top5"]] == [g.label for g in alone.prediction.top()]
        assert [g["prob"] for g in row["top5"]] == pytest.approx([g.prob for g in alone.prediction.top()], abs=1e-5)
    assert len({tuple(row["kept"]) for row in found["images"]}) > 1, "photos that keep as many patches prove little"
    assert list(found["images"][0]) == ["file", "top5", "macs", "dense_macs", "patches", "kept", "latency_ms"]
    assert found["images"][0]["latency_ms"]["batch"] == 5


def test_photos_are_told_as_they_are_done_and_one_object_does_not_grow_without_end(work, capsys, monkeypatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(sweeping, "_line", lambda row: told.append(len(told)) or f"line {len(told)} ends")
    seen: list[int] = []
    monkeypatch.setattr(sweeping, "sweep", partial(counted, sweeping.sweep, told, seen))
    assert main([part for part in command(work, "predict", "--batch", 4, "--workers", 0) if part != "--json"]) == 0
    assert capsys.readouterr().out.count("ends\n") == PHOTOS
    assert seen[:3] == [4, 8, 12]  # after each batch, not at the end
    monkeypatch.setattr(sweeping, "MOST_IN_ONE", PHOTOS - 1)
    assert "give --out FILE" in refusal(capsys, command(work, "predict"))


def counted(
    sweep: Callable, told: list[int], seen: list[int], *given: object, on_rows: Callable, **more: object
) -> object:
    """A sweep that notes after each batch how many lines have been told."""

    def noted(rows: list[dict]) -> None:
        on_rows(rows)
        seen.append(len(told))

    return sweep(*given, on_rows=noted, **more)


def test_unreadable_photos_are_lines_and_are_counted(work, tmp_path, capsys) -> None:
    found = call(capsys, command(work, "predict", data="torn/val"))
    assert len(found["images"]) == 5
    assert "There is no engine onnx" in refusal(capsys, command(work, "predict", "--engine", "onnx"))
    (row,) = found["unreadable"]
    assert "not a picture" in row["error"]
    for name in ("predict", "evaluate"):
        out = tmp_path / f"{name}.jsonl"
        found = call(capsys, command(work, name, "--out", out, data="torn/val"))
        assert found["unreadable"] == 1
        (row,) = [row for row in rows_of(out) if "error" in row]
        assert row["file"].endswith("val/green/000.png")
        assert len(rows_of(out)) == found["photos"] == 6
    assert found["images"] == 5
    assert main(command(work, "evaluate", data="torn/val")) == 0
    captured = capsys.readouterr()
    assert "val/green/000.png: That file is not a picture" in captured.err
    assert json.loads(captured.out)["unreadable"] == 1


def test_a_killed_run_is_gone_on_with_and_repeats_and_loses_nothing(work, tmp_path, capsys) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    expected = call(capsys, command(work, "evaluate", "--out", whole, "--batch", 1))
    arguments = command(work, "evaluate", "--out", out, "--batch", 1, "--workers", 1)
    process = started(arguments, stderr=subprocess.DEVNULL)
    assert "another run" in refusal(capsys, [*arguments, "--resume"])
    process.kill()
    process.wait()
    done = out.read_bytes().count(b"\n") - 1
    assert done == PAUSE
    with out.open("ab") as file:
        file.write(whole.read_bytes().splitlines()[done + 1][:25])  # killed in the middle of a line
    found = call(capsys, [*arguments, "--resume"])
    assert totals(found) == totals(expected)
    assert out.read_bytes() == whole.read_bytes()
    again = call(capsys, [*arguments, "--resume"])
    assert totals(again) == totals(expected)
    assert again["images_per_s"] is again["waiting_share"] is None, "nothing ran"
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_ctrl_c_leaves_whole_lines_and_says_how_to_go_on(work, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    arguments = command(work, "predict", "--out", out, "--batch", 1, "--workers", 1)
    process = started(arguments, stderr=subprocess.PIPE, start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader processes get it too
    said = process.communicate()[1].decode()
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    assert out.read_bytes().endswith(b"\n")


PAUSE = 3
PAUSING = f"""
import select, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import core.evaluation.result_file
append, written = core.evaluation.result_file.ResultFile.append, []
def pausing(self, rows):
    append(self, rows)
    written.extend(rows)
    if len(written) == {PAUSE}:
        print("paused", flush=True)
        while not select.select([sys.stdin], [], [], 0.01)[0]:  # a plain read would miss a signal just before it
            pass
core.evaluation.result_file.ResultFile.append = pausing
from core.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""The same command, which stands still once it has written so many rows."""


def started(arguments: Sequence[str], **how: object) -> subprocess.Popen:
    """It, standing still."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", PAUSING, *arguments], cwd=ROOT, **pipes, **how)
    assert process.stdout.readline() == b"paused\n"
    return process


@pytest.mark.slow
def test_two_processes_write_the_file_that_one_writes_and_resume_what_one_began(work, tmp_path, capsys) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    expected = call(capsys, command(work, "evaluate", "--out", whole, "--batch", 4, "--method", "random"))
    lines = whole.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:8]) + lines[8][:9])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "core"]
    rest = ["--out", out, "--resume", "--batch", 4, "--workers", 0, "--method", "random", "--device", "cpu"]
    ran = subprocess.run(
        [*launch, *command(work, "evaluate", *rest)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert totals(json.loads(ran.stdout)) == totals(expected)
    assert [alike(row) for row in rows_of(out)] == [alike(row) for row in rows_of(whole)]


def alike(row: dict) -> dict:
    """A row without the last digits of its probability, which depend on the batch."""
    return row | {"top1": row["top1"] | {"prob": round(row["top1"]["prob"], 4)}}


def test_shares_cover_every_photo_once_and_in_order_for_any_number_of_processes() -> None:
    todo = np.array([1, 2, 3, 5, 8, 13, 21])
    for world in (1, 2, 3, 8):
        shares = [Share(todo, 2, rank, world) for rank in range(world)]
        steps = [list(share) for share in shares]
        joined = [i for step in range(len(shares[0])) for own in steps if step < len(own) for i in own[step]]
        assert joined == todo.tolist()


def test_a_file_of_another_run_is_refused_in_one_sentence(work, tmp_path, capsys) -> None:
    out = tmp_path / "out.jsonl"
    call(capsys, command(work, "evaluate", "--out", out))
    before = out.read_bytes()
    assert "--resume" in refusal(capsys, command(work, "evaluate", "--out", out))
    resumed = ("--out", out, "--resume")
    assert "another model" in refusal(capsys, command(work, "evaluate", *resumed, model="dense"))
    assert "another setting" in refusal(capsys, command(work, "evaluate", *resumed, "--keep", "0.5,0.3,0.2"))
    assert "another folder" in refusal(capsys, command(work, "evaluate", *resumed, data="data/train"))
    assert "another command" in refusal(capsys, command(work, "predict", *resumed))
    assert out.read_bytes() == before
    other = tmp_path / "notes.txt"
    other.write_text("my notes")
    assert "no results" in refusal(capsys, command(work, "evaluate", "--out", other, "--resume"))
    assert other.read_text() == "my notes"
    (tmp_path / "cut.jsonl").write_bytes(before[:20])  # killed in the middle of the header
    call(capsys, command(work, "evaluate", "--out", tmp_path / "cut.jsonl", "--resume"))
    assert (tmp_path / "cut.jsonl").read_bytes() == before
    assert "cannot be written" in refusal(capsys, command(work, "evaluate", "--out", tmp_path / "no" / "out.jsonl"))


def test_weights_that_changed_under_the_same_name_are_refused(work, tmp_path, capsys) -> None:
    model, out = tmp_path / "model.safetensors", tmp_path / "out.jsonl"
    arguments = ["predict", str(work / "data"), "--model", str(model), "--out", str(out)]
    model.write_bytes((work / "dense.safetensors").read_bytes())
    assert main(arguments) == 0
    capsys.readouterr()
    model.write_bytes((work / "other.safetensors").read_bytes())
    assert "another weights or classes" in refusal(capsys, [*arguments, "--resume"])


def test_damaged_and_repeated_lines_are_named_and_missing_ones_done_again(work, tmp_path, capsys) -> None:
    out = tmp_path / "out.jsonl"
    expected = call(capsys, command(work, "evaluate", "--out", out))
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join([*lines[:3], b"{half\n", *lines[4:]]))
    assert "Line 4" in refusal(capsys, command(work, "evaluate", "--out", out, "--resume"))
    out.write_bytes(b"".join([*lines, lines[2]]))
    assert "its line already" in refusal(capsys, command(work, "evaluate", "--out", out, "--resume"))
    out.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    for _ in range(2):  # the second time, the lines are no longer in order
        assert totals(call(capsys, command(work, "evaluate", "--out", out, "--resume"))) == totals(expected)
    done_again = sorted(rows_of(out), key=lambda row: row["file"])
    assert [alike(row) for row in done_again] == [alike(json.loads(line)) for line in lines[1:]]


def test_a_walk_finds_nested_photos_once_and_survives_a_link_to_itself(tmp_path) -> None:
    for name in ("b/2.JPG", "b/c/3.webp", "a.png", ".hidden/4.png", "b/._2.JPG", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found, skipped = list_photos([tmp_path, tmp_path / "a.png"])
    assert [found.path(i) for i in range(len(found))] == [str(tmp_path / n) for n in ("a.png", "b/2.JPG", "b/c/3.webp")]
    assert skipped.sentence == (
        "Skipped 1 file that is not a photo (1 .txt), 1 hidden file, 1 link to what is counted already."
    )
    with pytest.raises(InputError, match="not there"):
        list_photos([tmp_path / "nowhere"])


def test_the_packed_list_gives_back_what_went_in() -> None:
    names = ["", "ä/ü.png", "\udcff.png", "x" * 300]
    packed = PhotoList(names, [3, 1, 0, 2])
    assert [packed.path(i) for i in range(4)] == names
    assert [packed.label(i) for i in range(4)] == [3, 1, 0, 2]
    assert packed.fingerprint() != PhotoList(names, [3, 1, 2, 0]).fingerprint()
    assert packed.fingerprint() != PhotoList(["ä", "/ü.png", "\udcff.png", "x" * 300], [3, 1, 0, 2]).fingerprint()


def test_a_loader_is_given_no_more_than_a_few_batches_ahead_of_the_model_to_read() -> None:
    opened, given = get_context("fork").Value("i", 0), []

    class Watched(Share):
        """Tells which batches the loader has asked for, so may read."""

        def __iter__(self) -> Iterator[list[int]]:
            for batch in super().__iter__():
                given.append(batch)
                yield batch

    def read(path: Path) -> Image.Image:
        with opened:
            opened.value += 1
        return Image.new("RGB", (8, 8))

    photos = PhotoList([f"{i}.png" for i in range(80)])
    dataset = Photos(photos, read, lambda image: torch.zeros(3, 8, 8))
    for taken, _ in enumerate(photo_loader(dataset, Watched(np.arange(80), batch=4), workers=1), start=1):
        assert len(given) == min(20, taken + AHEAD)
        assert 4 * taken <= opened.value <= 4 * len(given)
    assert (taken, opened.value) == (20, 80)
