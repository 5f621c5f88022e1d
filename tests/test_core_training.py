"""Training on a small folder: it learns, it resumes exactly, and two processes find what one finds."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from core.__main__ import main
from core.baselines.plans import Plan
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.evaluation.evaluate import evaluate
from core.families import deit
from core.models.load import load
from core.models.runners import dense_runner
from core.models.weights import read_checkpoint
from core.photos.class_folders import match_folders, photos
from core.photos.image import eval_transform, load_photo
from core.training.data import spread_over
from core.training.loop import _special_rates
from core.training.runs import commit_state, open_run
from core.training.search import weight_groups
from core.training.tokens import token_groups
from tests.tiny import draw_folder, single_path_model, token_model

ROOT = Path(__file__).resolve().parent.parent
SIZE = ["--img-size", "32", "--stem", "8,16,32", "--width", "32", "--depth", "4", "--heads", "2"]
LOOP = ["--batch", "16", "--workers", "0", "--precision", "no", "--warmup-epochs", "0"]


def run(*arguments: str | Path) -> int:
    return main([str(a) for a in arguments])


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with data/ and a dense run trained on it."""
    root = tmp_path_factory.mktemp("training")
    draw_folder(root / "data")
    assert run("train", "--data", root / "data", "--out", root / "dense", "--epochs", 4, *SIZE, *LOOP) == 0
    return root


def test_training_learns_colours_and_writes_a_line_per_epoch(work) -> None:
    lines = metrics(work / "dense")
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["val_top1"] > 0.9
    loaded = load(ModelSpec(str(work / "dense" / "model.safetensors")))
    assert [c.label for c in loaded.card.classes] == ["blue", "green", "red"]
    assert loaded.card.training["epochs"] == 4


@torch.no_grad()
def test_a_model_taken_over_answers_as_before_for_the_classes_that_it_knew(work) -> None:
    before = load(ModelSpec(str(work / "dense" / "model.safetensors"))).model
    geometry = load(ModelSpec(str(work / "dense" / "model.safetensors"))).card.geometry
    model = deit.build(replace(geometry, classes=4)).eval()
    deit.take_over(model, before, [2, None, 0, 1])
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(image)[:, [2, 3, 0]], before(image))


def test_training_goes_on_from_a_model_with_finer_patches_and_fewer_classes(work) -> None:
    start = work / "dense" / "model.safetensors"
    listed = work / "two.txt"
    listed.write_text("blue\nred\n")
    arguments = ["--data", work / "data", "--classes", listed, "--start-from", start, "--img-size", "48"]
    assert run("train", *arguments, "--out", work / "finer", "--epochs", 2, "--lr", "1e-5", *LOOP) == 0
    loaded = load(ModelSpec(str(work / "finer" / "model.safetensors")))
    assert loaded.card.geometry.grid == (6, 6)
    assert [c.label for c in loaded.card.classes] == ["blue", "red"]
    assert metrics(work / "finer")[0]["val_top1"] > 0.8  # at a rate that teaches nothing: what it knew came along


def test_a_run_that_was_interrupted_ends_with_the_same_weights(work) -> None:
    out = work / "resumed"
    arguments = ["train", "--data", work / "data", "--out", out, "--epochs", 4, *SIZE, *LOOP]
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPT, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert [line["epoch"] for line in metrics(out)] == [1, 2]
    assert run(*arguments, "--resume") == 0
    one, _ = read_checkpoint(work / "dense" / "model.safetensors")
    other, _ = read_checkpoint(out / "model.safetensors")
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, atol=1e-5, rtol=1e-4)


INTERRUPT = """
import sys
from core import __main__
from core.training import loop
plain = loop.append_metrics
def stop_after_two(run, record):
    if record["epoch"] == 3:
        raise KeyboardInterrupt
    plain(run, record)
loop.append_metrics = stop_after_two
sys.exit(__main__.main(sys.argv[1:]))
"""


def test_selectors_are_put_into_a_dense_model_and_meet_their_targets(work) -> None:
    out, dense = work / "tokens", work / "dense" / "model.safetensors"
    where = ["--selectors", "1,2", "--targets", "0.5,0.25"]
    assert run("finetune", "--model", dense, "--data", work / "data", "--out", out, "--epochs", 2, *where, *LOOP) == 0
    last = metrics(out)[-1]
    assert last["val_kept"] == pytest.approx([0.5, 0.25], abs=0.1)  # calibrated on three photos
    loaded = load(ModelSpec(str(out / "model.safetensors")))
    assert loaded.card.selectors.blocks == (1, 2)
    assert loaded.card.selectors.trained is last["trained"]


def test_a_rival_is_trained_with_patches_dropped_at_random(work, capsys) -> None:
    """It costs the targets in every photo, no ranking is learnt, and it is never said to be trained."""
    out, dense = work / "at-random", work / "dense" / "model.safetensors"
    flags = ["--selectors", "1,2", "--targets", "0.5,0.25", "--drop-at-random", "--epochs", 2, *LOOP]
    assert run("finetune", "--model", dense, "--data", work / "data", "--out", out, *flags) == 0
    assert metrics(out)[-1]["val_kept"] == [0.5, 0.25]
    assert "rank_loss" not in metrics(out)[-1]
    loaded = load(ModelSpec(str(out / "model.safetensors")))
    assert not loaded.card.selectors.trained
    capsys.readouterr()
    flags = ["--against-random", out / "model.safetensors", "--keep", "0.5,0.25", "--workers", 0, "--json"]
    assert run("report", "--model", out / "model.safetensors", "--data", work / "data", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["against_random"]["top1"] <= 1
    flags = ["--out", work / "both", "--no-packages", *LOOP]
    assert run("finetune", "--model", dense, "--data", work / "data", *flags) == 2
    assert "selectors are trained with their packages" in capsys.readouterr().err
    flags = ["--out", work / "both", "--drop-at-random", "--rank-by", "saliency", *LOOP]
    assert run("finetune", "--model", dense, "--data", work / "data", *flags) == 2
    assert "teaches no ranking; omit --rank-by" in capsys.readouterr().err


def test_a_rival_without_packages_is_a_dense_model_and_costs_what_it_keeps(work, capsys) -> None:
    """By `evaluate --method random-dense` it is as good as its own run said, at the same MACs."""
    out, dense = work / "dropped", work / "dense" / "model.safetensors"
    flags = ["--selectors", "1,2", "--targets", "0.5,0.25", "--drop-at-random", "--no-packages", "--epochs", 1]
    flags += ["--wait-epochs", 0, *LOOP]
    assert run("finetune", "--model", dense, "--data", work / "data", "--out", out, *flags) == 0
    saved = load(ModelSpec(str(out / "model.safetensors")))
    assert saved.method == "dense"
    before = load(ModelSpec(str(dense))).model
    assert not torch.equal(saved.model.blocks[2].mlp.fc1.weight, before.blocks[2].mlp.fc1.weight)
    geometry = saved.card.geometry
    kept = Plan("random-dense", geometry, (1, 2), (geometry.patches // 2, geometry.patches // 4))
    assert metrics(out)[-1]["val_macs"] == pytest.approx(kept.macs.total / count_macs(geometry).total)


def test_a_search_moves_the_expected_cost_towards_its_budget(work) -> None:
    out, dense = work / "search", work / "dense" / "model.safetensors"
    hard = ["--from-flat", "--budget", "40%", "--cost-weight", "1e8", "--gate-lr", "0.3"]
    assert run("search", "--model", dense, "--data", work / "data", "--out", out, "--epochs", 3, *hard, *LOOP) == 0
    lines = metrics(out)
    gaps = [abs(line["expected_gmacs"] - line["asked_gmacs"]) for line in lines]
    assert gaps[-1] < 0.5 * gaps[0]
    assert load(ModelSpec(str(out / "model.safetensors"))).card.single_path.fit_to_predict is False


def mislabelled(work: Path) -> Path:
    """The validation photos with a third of the red ones among the green."""
    root = work / "mixed"
    if not root.exists():
        shutil.copytree(work / "data" / "val", root / "val")
        for path in sorted((root / "val" / "red").iterdir())[::3]:
            path.rename(root / "val" / "green" / f"red-{path.name}")
    return root


def torchrun(count: int, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Run one of our commands in `count` processes on the CPU."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "core"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    everything = [*command, *map(str, arguments)]
    done = subprocess.run(everything, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_find_the_same_evaluation_as_one(work, capsys) -> None:
    model = work / "dense" / "model.safetensors"
    arguments = ["evaluate", "--model", model, "--data", mislabelled(work), "--batch", 7, "--workers", 0, "--json"]
    capsys.readouterr()
    assert run(*arguments) == 0
    alone = capsys.readouterr()
    done = torchrun(2, *arguments)
    assert ("; 2 processes" in alone.err, "; 2 processes" in done.stderr) == (False, True)
    one, two = json.loads(alone.out), json.loads(done.stdout)  # one object, whatever the number of processes
    assert one["images"] == two["images"] == 60
    assert one["top1"] == pytest.approx(53 / 60, abs=0.04), "7 photos are in the wrong folder"
    for name in ("top1", "top5", "mean_macs"):
        assert one[name] == two[name]


@pytest.mark.slow
def test_two_processes_train_one_model(work) -> None:
    out = work / "two"
    done = torchrun(2, "train", "--data", work / "data", "--out", out, "--epochs", 3, *SIZE, *LOOP)
    assert "on 2 processes" in done.stderr
    last = metrics(out)[-1]
    assert last["val_images"] == 60
    evaluated = evaluate_alone(out / "model.safetensors", work / "data")
    assert evaluated == pytest.approx(last["val_top1"], abs=0.02)  # half precision may tip a photo


@pytest.mark.slow
def test_two_processes_put_selectors_into_one_model(work, capsys) -> None:
    """What the run said of its last epoch holds for the file that it wrote."""
    out, dense = work / "two-tokens", work / "dense" / "model.safetensors"
    where = ["--selectors", "1,2", "--targets", "0.5,0.25", "--data", work / "data", "--out", out, "--epochs", 1]
    done = torchrun(2, "finetune", "--model", dense, *where, *LOOP)
    assert "on 2 processes" in done.stderr
    last = metrics(out)[-1]
    capsys.readouterr()
    assert run("evaluate", "--model", out / "model.safetensors", "--data", work / "data", "--workers", 0, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    share = found["mean_macs"] / found["dense_macs"]
    assert share == pytest.approx(last["val_macs"], abs=0.01)  # half precision may tip a patch
    assert found["top1"] == pytest.approx(last["val_top1"], abs=0.02)


def evaluate_alone(model: Path, data: Path) -> float:
    """Top-1 of a weights file, in this process."""
    loaded = load(ModelSpec(str(model)))
    folders, _ = match_folders([data / "val"], loaded.card.classes)
    dataset = photos([data / "val"], folders, eval_transform(32, loaded.card.normalisation))
    found = evaluate(dense_runner(loaded.model, 1), DataLoader(dataset, 16), dense_macs=1, patches=16)
    return found.top1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--batch", "7"], "even number"),
        (["--epochs", "0"], "1 or more"),
        (["--data", "/no/such/folder"], "not a folder"),
        (["--width", "33"], "not possible"),
        (["--classes", "nowhere.txt"], "cannot be read"),
        (["--batch", "4096"], "smaller --batch"),
        (["--stem", "a,b"], "commas"),
        (["--device", "toaster"], "--device"),
        (["--lr", "nan"], "positive rate"),
        (["--weight-decay", "-1"], "0 or more"),
        (["--auto-augment", "foo"], "timm's notation"),
        (["--pretrained"], "need --model"),
        (["--width", "-32"], "not possible"),
        (["--seed", "-1"], "--seed"),
        (["--epochs", "many"], "invalid int"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_status_2(flags, sentence, work, capsys, tmp_path) -> None:
    arguments = ["train", "--data", work / "data", "--out", tmp_path / "out", "--epochs", 1, *SIZE, *LOOP, *flags]
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.strip().count("\n") == 0


def test_a_run_is_not_overwritten_by_mistake(work, capsys) -> None:
    arguments = ["train", "--data", work / "data", "--out", work / "dense", "--epochs", 4, *SIZE, *LOOP]
    assert run(*arguments) == 2
    assert "add --resume" in capsys.readouterr().err
    assert run(*arguments, "--resume", "--mixup", "0.5") == 2
    assert "other settings (mixup 0.2, now 0.5)" in capsys.readouterr().err


def test_an_empty_data_folder_and_a_single_class_are_refused(tmp_path, capsys) -> None:
    (tmp_path / "train" / "only").mkdir(parents=True)
    assert run("train", "--data", tmp_path, "--out", tmp_path / "out", *LOOP) == 2
    assert "1 class folders" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "something was written"
    (tmp_path / "train" / "second").mkdir()
    assert run("train", "--data", tmp_path, "--out", tmp_path / "out", *LOOP) == 2
    assert "no folder 'val'" in capsys.readouterr().err
    (tmp_path / "val").mkdir()
    assert run("train", "--data", tmp_path, "--out", tmp_path / "out", *LOOP) == 2
    assert "no photos" in capsys.readouterr().err


def test_a_state_is_replaced_only_by_a_whole_one(tmp_path) -> None:
    kept = open_run(tmp_path / "run", {"lr": 1}, resume=False)
    for epoch in (1, 2, 3):
        half = kept.folder / "state.tmp"
        half.mkdir()
        assert (kept.state() is None) is (epoch == 1), "a half-written state counts"
        (half / "progress.json").write_text(str(epoch))
        commit_state(kept, half, epoch)
        assert (kept.state() / "progress.json").read_text() == str(epoch)
    assert sorted(path.name for path in kept.folder.glob("state*")) == ["state-00002", "state-00003"]


def test_an_any_budget_model_is_trained_from_a_search_and_works_at_its_budgets(work) -> None:
    dense, search, out = work / "dense" / "model.safetensors", work / "search0", work / "any"
    assert run("search", "--model", dense, "--data", work / "data", "--out", search, "--epochs", 1, *LOOP) == 0
    arguments = ["finetune", "--model", search / "model.safetensors", "--data", work / "data", "--out", out]
    rest = ["--teacher", dense, "--least", "50.5%", "--epochs", 2, "--lr", "1e-3", *LOOP]
    assert run(*arguments, *rest) == 0
    loaded = load(ModelSpec(str(out / "model.safetensors"), budget=0.6e6))
    assert loaded.card.single_path.budgets[0] == 0.51
    assert loaded.card.single_path.fit_to_predict
    assert loaded.architecture.macs <= 0.6e6
    assert metrics(out)[-1]["val_top1_at_100%"] > 0.6


@pytest.mark.parametrize(
    ("model", "groups"),
    [
        (single_path_model(), lambda model: weight_groups(model, 0.05)),
        (token_model(), lambda model: token_groups(model, lr=1.0, backbone_lr=1.0, weight_decay=0.05, wait=0.0)),
    ],
    ids=["gates", "selectors"],
)
def test_positions_prefix_tokens_and_head_mixing_do_not_decay(model, groups) -> None:
    decays = {id(p): group["weight_decay"] for group in groups(model) for p in group["params"]}
    for name, parameter in model.named_parameters():
        if name.endswith((".pos_embed", ".cls_token", ".head_logits", ".bias")):
            assert decays[id(parameter)] == 0, name
        if name.endswith(("qkv.weight", "fc1.weight", "fc2.weight")):
            assert decays[id(parameter)] == 0.05, name


def test_gates_keep_their_rate_and_a_waiting_backbone_stands_still() -> None:
    groups = [{"lr": 0.3, "constant_lr": 0.1}, {"lr": 0.3, "wait_epochs": 1.0}, {"lr": 0.3}]
    _special_rates(groups, 0.5)
    assert [g["lr"] for g in groups] == [0.1, 0.0, 0.3]
    groups[1]["lr"] = 0.3
    _special_rates(groups, 1.0)
    assert groups[1]["lr"] == 0.3


@pytest.mark.parametrize(("there", "count", "chosen"), [(10, 4, [0, 2, 5, 7]), (3, 4, [0, 1, 2]), (4, 4, [0, 1, 2, 3])])
def test_some_photos_of_a_sorted_folder_come_from_all_of_it(there, count, chosen) -> None:
    found = spread_over(list(range(there)), count)
    assert [found[i] for i in range(len(found))] == chosen


def test_a_photo_of_too_many_pixels_is_named(tmp_path) -> None:
    Image.new("1", (9000, 6000)).save(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge\.png: The picture is 9000 x 6000 pixels; the limit is 50 megapixels"):
        load_photo(tmp_path / "huge.png")
