"""Swin through the command line: searched, fine-tuned for one budget or any, exported, described, timed, refused."""

import json

import pytest
import torch

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.families import swin
from core.models.load import load
from core.models.registry import list_models
from core.models.weights import read_card, save_checkpoint
from core.single_path.history import history_file, read_history
from tests.clocks import HandClock
from tests.tiny import draw_folder
from tests.tiny_swin import SWIN, SWIN_CARD, images

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_search_step_is_timed_beside_a_dense_step_and_deriving_is_held_against_what_a_slider_may_take(
    work, capsys, monkeypatch
) -> None:
    flags = ("bench", "--training", "--model", work / "dense.safetensors", "--batch", 2, "--device", "cpu")
    HandClock(monkeypatch, step_s=0.049)  # whatever is timed takes so long
    assert run(*flags, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["search_ratio"], row["distilled_search_ratio"]) == pytest.approx((1, 1))
    assert (row["dense_ms"], row["derive_ms"]) == pytest.approx((49, 49))
    for step_s, said in ((0.049, "takes 49.0 ms\n"), (0.051, "takes 51.0 ms, more than the 50 ms that a slider may")):
        HandClock(monkeypatch, step_s=step_s)
        assert run(*flags) == 0
        assert f"deriving an architecture {said}" in capsys.readouterr().out


def test_a_latency_table_of_a_swin_is_refused_in_one_line(capsys) -> None:
    assert run("bench", "--model", "swin_tiny_patch4_window7_224", "--table", "table.csv") == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert "A latency table holds blocks of one width" in said


def test_models_say_which_method_can_prune_each_and_why_not_the_other() -> None:
    notes = {entry.name: entry.note for entry in list_models() if entry.method == "dense"}
    assert "; soft token pruning can prune it; single-path pruning cannot: it takes" in notes["pit_s_224.in1k"]
    assert "both methods can prune it" in notes["swin_tiny_patch4_window7_224.ms_in1k"]
    assert all("prune it" in note for note in notes.values())
    assert "both methods can prune it" in notes["deit_tiny_patch16_224.fb_in1k"]


def test_describe_says_it_of_a_dense_model(capsys) -> None:
    assert run("describe", "--model", "swin_tiny_patch4_window7_224") == 0
    said = capsys.readouterr().out
    assert "Both methods can prune it." in said
    assert "4.502 GMACs" in said or "4.49" in said
