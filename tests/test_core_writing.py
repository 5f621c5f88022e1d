"""Where results go: checked before the work, whole at every moment, and printed where they cannot be written."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from core.__main__ import main
from core.benchmarks.record import add_rows
from core.commands import bench, sweeping
from core.commands import report as report_command
from core.errors import InputError
from core.files import check_target, is_stdout, is_stream, write_text
from core.models.cards import SelectorCard
from core.models.weights import save_checkpoint
from tests.tiny import CARD, backbone, draw_folder, token_model


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Two models and six photos."""
    root = tmp_path_factory.mktemp("writing")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD)
    tokens = replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    save_checkpoint(root / "tokens.safetensors", token_model(), tokens)
    draw_folder(root / "data", per_class=2)
    (root / "notes.json").write_text('["mine"]')
    (root / "there.jsonl").write_text("mine")
    return root


@pytest.fixture
def pipe(tmp_path):
    """A named pipe, and the end of it that is read."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_a_pipe_or_a_device_is_written_to_and_never_replaced(pipe) -> None:
    path, reader = pipe
    write_text(path, "a result\n")
    assert os.read(reader, 100) == b"a result\n"
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(path.parent) == ["pipe"]
    assert is_stream(Path("/dev/null"))
    assert not is_stdout(Path("/dev/null"))


def test_a_stream_of_this_process_is_one_even_where_it_is_a_file(tmp_path) -> None:
    """As /dev/stdout is behind `> FILE`; the file itself is none."""
    with (tmp_path / "file").open("w") as file:
        named = Path(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "link").symlink_to(named)
        assert is_stream(named)
        assert is_stream(tmp_path / "link")
        assert not is_stream(tmp_path / "file")
        assert not is_stream(tmp_path / "nothing")


def test_a_link_stays_a_link_and_half_a_file_does_not_stay(tmp_path, monkeypatch) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "real", "newer")
    assert (tmp_path / "real").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def full(*given: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("name", "said"), [("", "is a folder"), ("no/x", "No such file"), ("x" * 300, "too long")])
def test_a_target_that_cannot_be_written_is_refused(name, said, tmp_path) -> None:
    with pytest.raises(InputError, match=said):
        check_target(tmp_path / name, "--record")
    check_target(tmp_path / "x", "--record")
    check_target(Path("/dev/null"), "--record")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("evaluate --data {0}/data --record {0}/no/r.json", "/no/r.json cannot be written (No such file"),
        ("evaluate --data {0}/data --record {0}", "is a folder; --record takes"),
        ("evaluate --data {0}/data --record {0}/notes.json", "holds no recorded evaluations"),
        ("evaluate --data {0}/data --method tome --out {0}/no/o.jsonl", "cannot be written (No such file"),
        ("evaluate --data {0}/data --method tome --out {0}/there.jsonl", "is there already"),
        ("evaluate --data {0}/data --out /dev/null --resume", "is no file that could be resumed"),
        ("predict {0}/data --out {0}", "is a folder; --out takes"),
        ("report --data {0}/data --record {0}/no/r.json", "cannot be written (No such file"),
        ("report --data {0}/data --record {0}/notes.json", "holds no reports"),
        ("bench --table {0}/no/t.csv", "cannot be written (No such file"),
        ("bench --record {0}/no/b.json", "cannot be written (No such file"),
    ],
)
def test_where_a_result_goes_is_checked_before_the_model_is_read(command, said, work, capsys) -> None:
    assert main([*command.format(work).split(), "--model", "no model of that name"]) == 2
    assert said in capsys.readouterr().err


def refuse(*given: object) -> None:
    raise InputError("There is no room.")


@pytest.mark.parametrize(
    ("command", "module", "writer", "key"),
    [
        ("evaluate --data {0}/data --record {0}/r.json", sweeping, "add_row", "top1"),
        ("report --data {0}/data --record {0}/r.json", report_command, "record", "calibration_error"),
    ],
)
def test_a_result_that_cannot_be_written_is_printed(command, module, writer, key, work, capsys, monkeypatch) -> None:
    monkeypatch.setattr(module, writer, refuse)
    model = str(work / "tokens.safetensors")
    assert main([*command.format(work).split(), "--workers", "0", "--model", model, "--json"]) == 2
    captured = capsys.readouterr()
    assert key in json.loads(captured.out)
    assert captured.err.splitlines()[-1] == "error: There is no room."


def test_a_table_that_cannot_be_written_is_printed(work, capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench, "write_table", refuse)
    command = ["bench", "--table", str(work / "t.csv"), "--model", str(work / "dense.safetensors"), "--repeats", "4"]
    assert main(command) == 2
    assert "part,tokens,ms" in capsys.readouterr().out


def test_lines_go_to_stdout_and_the_summary_aside(work, capfd) -> None:
    model = str(work / "dense.safetensors")
    assert main(["predict", str(work / "data"), "--model", model, "--workers", "0", "--out", "/dev/stdout"]) == 0
    captured = capfd.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert "prunescope" in lines[0]
    assert len(lines) == 1 + 12
    assert "12 photos" in captured.err


def test_lines_go_nowhere_where_that_is_asked_for(work, capsys) -> None:
    model = str(work / "dense.safetensors")
    flags = ["--model", model, "--workers", "0", "--json"]
    assert main(["evaluate", "--data", str(work / "data"), "--out", "/dev/null", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_record_of_a_benchmark_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("core.benchmarks.record.write_text", full)
    with pytest.raises(InputError, match="No space left on device"):
        add_rows(tmp_path / "b.json", {"device": "cpu", "threads": 1, "machine": "m", "versions": {}}, [], [])
