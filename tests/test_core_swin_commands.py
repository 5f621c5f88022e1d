"""Swin through the command line: searched, fine-tuned for one budget or any, exported, described, timed, refused."""

import json

import numpy as np
import pytest
import torch

from core.__main__ import main
from core.backbones import swin
from core.checkpoints import load
from core.config import ModelSpec
from core.macs import count_macs
from core.path_latency import block_ms, measure_path, path_ms
from core.registry import list_models
from core.single_path.derive import derive, gates_of
from core.single_path.history import history_file, read_history
from core.timings import StagedCosts
from core.weights import read_card, save_checkpoint
from tests.tiny import draw_folder
from tests.tiny_swin import SWIN, SWIN_CARD, images, swin_path_model

LOOP = ("--epochs", 1, "--batch", 8, "--workers", 0, "--device", "cpu")


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A dense Swin, its search, and what was fine-tuned of it for one budget and for any."""
    folder = tmp_path_factory.mktemp("swin")
    data = draw_folder(folder / "data", per_class=8)
    torch.manual_seed(0)
    dense = folder / "dense.safetensors"
    save_checkpoint(dense, swin.build(SWIN), SWIN_CARD, half=False)
    common = ("--data", data, *LOOP)
    assert run("search", "--model", dense, "--budget", "60%", "--out", folder / "search", *common) == 0
    searched = folder / "search" / "model.safetensors"
    assert run("finetune", "--model", searched, "--budget", "60%", "--out", folder / "one", *common) == 0
    any_of = ("--least", "90%", "--teacher", dense, "--out", folder / "any")
    assert run("finetune", "--model", searched, *any_of, *common) == 0
    return folder


def test_a_search_takes_the_defaults_of_the_release_and_keeps_its_history(work) -> None:
    path = work / "search" / "model.safetensors"
    card = read_card(path)
    assert card.single_path.alpha == 100
    assert not card.single_path.in_windows
    assert card.training["settings"]["gate_lr"] == 5e-4
    assert len(read_history(history_file(path), SWIN).epochs) > 1


def test_one_budget_and_any_budget_load_and_keep_their_budgets(work) -> None:
    dense = count_macs(SWIN).total
    one = load(ModelSpec(str(work / "one" / "model.safetensors")))
    assert one.architecture.macs <= 0.6 * dense
    path = str(work / "any" / "model.safetensors")
    for share in (0.92, 1.0):
        loaded = load(ModelSpec(path, budget=share * dense))
        assert loaded.architecture.macs <= share * dense
        assert loaded.model(images(2)).isfinite().all()
    assert read_card(work / "any" / "model.safetensors").single_path.budgets[0] == 0.9


def test_a_budget_is_exported_predicted_described_and_evaluated(work, capsys) -> None:
    path, photo = work / "any" / "model.safetensors", next((work / "data" / "val" / "red").iterdir())
    capsys.readouterr()
    assert run("export", "--model", path, "--budget", "93%", "--out", work / "out", "--photos", photo, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [file["form"] for file in files] == ["compact", "compact"]
    assert all(file["largest_difference"] < 1e-4 for file in files)
    again = load(ModelSpec(files[0]["file"]))
    assert (
        again.model(images(2)) - load(ModelSpec(str(path), 0.93 * again.dense_macs)).model(images(2))
    ).abs().max() < 1e-4
    assert run("predict", photo, "--model", path, "--budget", "93%", "--device", "cpu", "--json") == 0
    answer = json.loads(capsys.readouterr().out)["images"][0]
    assert answer["macs"] == files[0]["macs"] <= 0.93 * answer["dense_macs"]
    assert (answer["patches"], answer["kept"]) == (64, None)
    assert run("describe", "--model", path, "--budget", "93%", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["family"], told["grid"], len(told["mixers"]), told["macs"]) == ("swin", [8, 8], 6, files[0]["macs"])
    assert run("evaluate", "--model", path, "--data", work / "data", "--workers", 0, "--device", "cpu", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 24


def test_a_search_step_is_timed_beside_a_dense_step(work, capsys) -> None:
    assert (
        run("bench", "--training", "--model", work / "dense.safetensors", "--batch", 2, "--device", "cpu", "--json")
        == 0
    )
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["search_ratio"] > 0
    assert row["derive_ms"] < 50


@pytest.mark.parametrize(
    "command",
    [
        ("finetune", "--model", "swin_tiny_patch4_window7_224", "--targets", "60%"),
        ("schedule", "--model", "swin_tiny_patch4_window7_224", "--targets", "60%"),
        ("bench", "--model", "swin_tiny_patch4_window7_224", "--table", "table.csv"),
        ("finetune", "--model", "dense.safetensors", "--targets", "60%"),
    ],
)
def test_token_pruning_of_a_swin_is_refused_in_one_line_that_names_what_it_takes(
    command, work, tmp_path, capsys
) -> None:
    words = [str(work / word) if word == "dense.safetensors" else word for word in command]
    needs = () if command[0] == "bench" else ("--data", work / "data")
    out = ("--out", tmp_path / "out") if command[0] == "finetune" else ()
    capsys.readouterr()
    assert run(*words, *needs, *out) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "Soft token pruning cannot take swin models; it takes a deit_*" in said
    assert not (tmp_path / "out").exists()


def test_models_say_which_method_can_prune_each_and_why_not_the_other() -> None:
    notes = {entry.name: entry.note for entry in list_models() if entry.method == "dense"}
    swin_note = notes["swin_tiny_patch4_window7_224.ms_in1k"]
    assert "; single-path pruning can prune it; soft token pruning cannot: its windows" in swin_note
    assert all("prune it" in note for note in notes.values())
    assert "both methods can prune it" in notes["deit_tiny_patch16_224.fb_in1k"]


def test_describe_says_it_of_a_dense_model(capsys) -> None:
    assert run("describe", "--model", "swin_tiny_patch4_window7_224") == 0
    said = capsys.readouterr().out
    assert "Single-path pruning can prune it; soft token pruning cannot" in said
    assert "4.502 GMACs" in said or "4.49" in said


def test_latency_is_foretold_from_parts_of_each_stage() -> None:
    model = swin_path_model()
    before = model(images(1))
    costs = measure_path(model.backbone, SWIN)
    assert isinstance(costs, StagedCosts)
    assert costs.depths == SWIN.depths
    assert [stage.ffn_hidden[-1] for stage in costs.stages] == [32, 64, 128]
    found = derive(gates_of(model, SWIN), 0.6 * count_macs(SWIN).total)
    assert path_ms(costs, found) == pytest.approx(costs.rest_ms + sum(block_ms(costs, found)))
    third = costs.stages[1]  # block 2 is the first of the second stage
    ffn = np.interp(found.ffn_hidden[2], third.ffn_hidden, third.ffn_ms)
    assert block_ms(costs, found)[2] == pytest.approx(third.mixer_ms[found.mixers[2]] + ffn)
    torch.testing.assert_close(model(images(1)), before)
