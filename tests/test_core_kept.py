"""Training that meets damaged photos, full disks and damaged files: one sentence, and nothing finished is lost."""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset

from core.__main__ import main
from core.commands.shared import check_workers
from core.errors import InputError
from core.evaluation.evaluate import evaluate
from core.models.runners import dense_runner
from core.models.weights import read_checkpoint
from core.photos import batches
from core.photos.batches import SMALL, labelled_batch, sent
from core.training import loop
from core.training.readable import FEW, Readable
from core.training.runs import open_run
from tests.tiny import draw_folder

FLAGS = ["--img-size", "32", "--stem", "8,16,32", "--width", "32", "--depth", "2", "--heads", "2", "--batch", "8"]
FLAGS += ["--workers", "0", "--precision", "no", "--warmup-epochs", "0"]


@pytest.fixture
def data(tmp_path) -> Path:
    return draw_folder(tmp_path / "data", per_class=6)


def train(data: Path, out: Path, *flags: object, epochs: int = 2) -> int:
    return main(["train", "--data", str(data), "--out", str(out), "--epochs", str(epochs), *FLAGS, *map(str, flags)])


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "model.safetensors")[0]


def refusal(capsys: pytest.CaptureFixture, status: int) -> str:
    """The one sentence that a command ended with, after what it said on its way."""
    assert status == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    return last


def at_the_second_epoch(monkeypatch: pytest.MonkeyPatch, happens: Callable[[object], None]) -> None:
    """Have something happen when the second epoch's line is to be written, behind its weights and its state."""
    plain = loop.append_metrics

    def write(run: object, record: dict) -> None:
        if record["epoch"] == 2:
            happens(run)
        plain(run, record)

    monkeypatch.setattr(loop, "append_metrics", write)


def raising(error: BaseException) -> Callable[[object], None]:
    def happens(run: object) -> None:
        raise error

    return happens


def interrupted(data: Path, out: Path, *flags: object) -> None:
    """A run of two epochs that was stopped in its second."""
    with pytest.MonkeyPatch.context() as patch:
        at_the_second_epoch(patch, raising(KeyboardInterrupt()))
        assert train(data, out, *flags) == 130
    assert [line["epoch"] for line in metrics(out)] == [1]


def cut(path: Path, bytes_left: int = 100) -> None:
    path.write_bytes(path.read_bytes()[:bytes_left])


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_photos_are_named_once_left_out_and_counted(workers, data, tmp_path, capfd) -> None:
    cut(data / "val" / "green" / "003.png")
    cut(data / "train" / "red" / "001.png")
    assert train(data, tmp_path / "run", "--workers", workers) == 0
    said = capfd.readouterr().err
    for name in ("val/green/003.png", "train/red/001.png"):
        assert said.count(f"{data}/{name}") == 1, said
    assert [line["left_out"] for line in metrics(tmp_path / "run")] == [2, 2]
    assert [line["val_images"] for line in metrics(tmp_path / "run")] == [17, 17]


class Numbers(Dataset):
    """The number i of class i, of which some cannot be read."""

    def __init__(self, count: int, damaged: set[int]) -> None:
        self.count, self.bad = count, damaged

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index in self.bad:
            raise InputError(f"{index} is damaged.")
        return torch.full((1,), float(index)), index


def test_the_next_photo_stands_in_for_a_damaged_one_and_is_not_graded() -> None:
    told: list[str] = []
    photos = Readable(Numbers(4, {1, 2}), told.append)
    assert [photos[i][1] for i in (0, 1, 2, 3, 1)] == [0, 3, 3, 3, 3]
    assert told == ["Left out: 1 is damaged.", "Left out: 2 is damaged."]
    assert photos.damaged == [1, 2]
    assert [Readable(Numbers(4, {3}), told.append, graded=True)[i][1] for i in range(4)] == [0, 1, 2, -1]


def test_where_many_photos_cannot_be_read_something_else_is_wrong() -> None:
    photos = Readable(Numbers(500, set(range(400))), lambda said: None)
    with pytest.raises(InputError, match=rf"one of {FEW + 1} of the 500 photos"):
        photos[0]
    with pytest.raises(InputError, match="None of the 3 photos"):
        Readable(Numbers(3, {0, 1, 2}), lambda said: None)[0]


def test_a_photo_without_a_grade_does_not_count() -> None:
    """Right, wrong, and one that could not be read; five more that would be right were they not unread."""
    answers = torch.eye(2)[[0, 0, 0]]
    batches = [(answers, torch.tensor([0, 1, -1])), (answers, torch.tensor([-1, -1, -1]))]
    found = evaluate(dense_runner(torch.nn.Identity(), 7), batches, dense_macs=7, patches=1)
    assert (found.images, found.top1, found.mean_macs) == (2, 0.5, 7)
    with pytest.raises(InputError, match="None of the photos"):
        evaluate(dense_runner(torch.nn.Identity(), 7), batches[1:], dense_macs=7, patches=1)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
        RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"),
    ],
    ids=["system", "safetensors", "torch"],
)
def test_a_full_disk_is_a_sentence_and_the_run_can_be_resumed(error, data, tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_the_second_epoch(patch, raising(error))
        assert "make room and --resume" in refusal(capsys, train(data, out))
    assert sorted(path.name for path in out.glob("state*")) == ["state-00001"]
    assert not list(out.glob("*.tmp"))
    assert train(data, out, "--resume") == 0
    assert [line["epoch"] for line in metrics(out)] == [1, 2]


def test_a_real_limit_on_the_size_of_files_is_a_sentence(data, tmp_path, capsys) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        status = train(data, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "(File too large)" in refusal(capsys, status)


def test_an_error_of_ours_is_no_full_disk(data, tmp_path, monkeypatch) -> None:
    at_the_second_epoch(monkeypatch, raising(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    with pytest.raises(RuntimeError, match="mat1"):
        train(data, tmp_path / "run")


def test_a_folder_that_goes_away_is_a_sentence(data, tmp_path, capsys, monkeypatch) -> None:
    out, aside = tmp_path / "run", tmp_path / "aside"
    with monkeypatch.context() as patch:
        at_the_second_epoch(patch, lambda run: os.rename(out, aside))
        assert "is not there any more; put it back" in refusal(capsys, train(data, out))
    os.rename(aside, out)
    assert train(data, out, "--resume") == 0


def test_a_damaged_state_is_named_and_the_one_before_goes_on(data, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert train(data, out) == 0
    newest = out / "state-00002"
    for file in sorted(newest.iterdir()):
        whole = file.read_bytes()
        cut(file, len(whole) // 2)
        said = refusal(capsys, train(data, out, "--resume"))
        assert f"{newest} is damaged" in said, file
        assert "the state before" in said
        file.write_bytes(whole)
    shutil.rmtree(newest)
    assert train(data, out, "--resume") == 0
    assert [line["epoch"] for line in metrics(out)] == [1, 2]
    assert newest.is_dir()


@pytest.mark.parametrize("text", ['{"epochs"', "[]", ""])
def test_damaged_settings_are_named_and_can_be_done_without(text, data, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    interrupted(data, out)
    (out / "settings.json").write_text(text)
    assert "settings.json is damaged; remove it" in refusal(capsys, train(data, out, "--resume"))
    (out / "settings.json").unlink()
    assert train(data, out, "--resume") == 0
    assert [line["epoch"] for line in metrics(out)] == [1, 2]
    assert json.loads((out / "settings.json").read_text())["epochs"] == 2


def test_a_cut_off_line_of_metrics_does_not_stop_a_run(data, tmp_path) -> None:
    out = tmp_path / "run"
    interrupted(data, out)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "more": {"of": 1}')
    assert train(data, out, "--resume") == 0
    assert [line["epoch"] for line in metrics(out)] == [1, 2]


def test_other_data_and_another_precision_are_noticed_and_another_place_is_fine(data, tmp_path, capsys) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"
    interrupted(data, out)
    AcceleratorState._reset_state()
    assert "in precision no" in refusal(capsys, train(data, out, "--resume", "--precision", "bf16"))
    AcceleratorState._reset_state()
    photo = data / "train" / "red" / "001.png"
    whole = photo.read_bytes()
    photo.unlink()
    said = refusal(capsys, train(data, out, "--resume"))
    assert "other data (18 and 18 photos of 3 classes" in said
    assert "now 17 and 18 photos" in said
    photo.write_bytes(whole + b"longer")  # as many photos of the same names, with something else in them
    assert "other data" in refusal(capsys, train(data, out, "--resume"))
    photo.write_bytes(whole)
    os.rename(data, moved)
    assert train(moved, out, "--resume") == 0


def test_a_lower_rate_is_taken_on_resuming_and_stays(data, tmp_path) -> None:
    """At next to no rate the second epoch leaves the weights as they are."""
    out = tmp_path / "run"
    interrupted(data, out, "--lr", "0.01")
    shutil.rmtree(out / "state-00002", ignore_errors=True)
    state = torch.load(out / "state-00001" / "optimizer.bin", weights_only=False)
    assert state["param_groups"][0]["lr"] > 1e-3
    with pytest.MonkeyPatch.context() as patch:  # stopped once more
        at_the_second_epoch(patch, raising(KeyboardInterrupt()))
        assert train(data, out, "--resume", "--lr", "1e-8") == 130
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["lr"], settings["earlier_lr"]) == (1e-8, [0.01])
    assert train(data, out, "--resume") == 0  # the rate is the run's now
    assert json.loads((out / "settings.json").read_text())["lr"] == 1e-8
    state = torch.load(out / "state-00002" / "optimizer.bin", weights_only=False)
    assert all(group["lr"] < 2e-6 for group in state["param_groups"])


def test_the_advice_for_a_loss_that_is_no_number_is_taken(data, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert "resume with a lower --lr" in refusal(capsys, train(data, out, "--lr", "1e30"))
    assert train(data, out, "--resume", "--lr", "1e-4") == 0
    assert len(metrics(out)) == 2


@pytest.mark.parametrize("command", ["train", "search", "finetune"])
def test_where_a_run_goes_is_checked_before_the_model_is_read(command, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    open_run(tmp_path / "run", {}, resume=False)
    rest = ["--data", str(tmp_path), "--model", "no model of that name"]
    assert "Not a directory" in refusal(capsys, main([command, "--out", str(tmp_path / "file"), *rest]))
    assert "already holds a run" in refusal(capsys, main([command, "--out", str(tmp_path / "run"), *rest]))


def test_a_loader_process_does_not_complain_when_the_one_that_it_serves_has_ended(capsys) -> None:
    """The thread that hands over shared memory then meets a connection that is closed."""
    for error in (EOFError(), ConnectionResetError(104, "Connection reset by peer")):
        batches._untroubled(type(error), error, None)
    assert capsys.readouterr().err == ""
    batches._untroubled(KeyError, KeyError("a bug"), None)
    assert "a bug" in capsys.readouterr().err
    hooks = list(DataLoader([0], 1, num_workers=1, collate_fn=hook_of_a_loader_process))
    assert hooks == ["_untroubled"]


def hook_of_a_loader_process(items: list[int]) -> str:
    sent(torch.tensor(items))
    return sys.excepthook.__name__


def test_two_runs_do_not_write_into_one_folder(tmp_path) -> None:
    open_run(tmp_path / "run", {"lr": 1}, resume=False)
    child = os.fork()
    if child == 0:
        try:
            open_run(tmp_path / "run", {"lr": 1}, resume=True)
        except InputError as error:
            os._exit(7 if "another run" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    open_run(tmp_path / "run", {"lr": 1}, resume=True)


def test_where_no_loader_process_can_run_photos_are_read_without(monkeypatch, capsys) -> None:
    def semaphore() -> None:
        raise OSError(30, "Read-only file system")

    args = argparse.Namespace(workers=2)
    check_workers(args)
    assert args.workers == 2
    monkeypatch.setattr(multiprocessing.get_context(), "Semaphore", semaphore)
    check_workers(args)
    assert args.workers == 0
    assert "(Read-only file system); photos are read without them" in capsys.readouterr().err


def test_a_batch_that_finds_no_shared_memory_goes_through_a_pipe(monkeypatch) -> None:
    """In a loader process, where the room is taken by others; the same numbers arrive."""
    calls = multiprocessing.get_context("fork").Value("i", 0)

    def none_left(tensor: torch.Tensor) -> torch.Tensor:
        calls.value += 1
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", none_left)
    pairs = [(torch.full((SMALL,), float(i)), i) for i in range(4)]  # of floats: four times as many bytes
    found = list(DataLoader(pairs, 2, num_workers=1, collate_fn=labelled_batch))
    assert calls.value == 2, "labels are small and went through the pipe at once"
    assert [labels.tolist() for _, labels in found] == [[0, 1], [2, 3]]
    assert [images[:, 0].tolist() for images, _ in found] == [[0, 1], [2, 3]]
    images = found[0][0]
    images += 1  # is its own
    assert sent(images) is images, "outside of loader processes nothing is done"
