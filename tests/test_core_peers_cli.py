"""`evaluate --method tome` and its like: same cost, untouched weights, recorded, and refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.__main__ import main
from core.baselines.dense import FALLBACK, dense_of
from core.baselines.plans import fit_plan
from core.baselines.run import peer_runner
from core.config import PEERS
from core.evaluation.recorded import read_rows
from core.models.cards import ModelCard, SelectorCard, SinglePathCard, class_names
from core.models.weights import read_card, save_checkpoint
from tests import lvvit
from tests.small_assets import SMALL_ASSETS
from tests.tiny import CARD, TINY, backbone, draw_folder, images, single_path_model, token_model


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A dense model, what was made of it, and photos."""
    root = tmp_path_factory.mktemp("peers")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD, half=False)
    selectors = SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True)
    said = {"dense": str(root / "dense.safetensors")}
    save_checkpoint(root / "tokens.safetensors", token_model(), replace(CARD, selectors=selectors, training=said))
    save_checkpoint(root / "orphan.safetensors", token_model(), replace(CARD, selectors=selectors))
    single = replace(CARD, single_path=SinglePathCard(0.01, True))
    save_checkpoint(root / "single.safetensors", single_path_model(), single)
    lv = ModelCard("lvvit", lvvit.TINY, class_names(list("abcde")), CARD.normalisation, selectors=selectors)
    save_checkpoint(root / "lvvit.safetensors", lvvit.token_model(), lv)
    named = replace(CARD, classes=CARD.classes[::-1])
    save_checkpoint(root / "reversed.safetensors", backbone(), named)
    draw_folder(root / "data", per_class=4)
    return root


def evaluate(work: Path, capsys, *flags: str, model: str = "tokens") -> dict:
    where = ["--model", str(work / f"{model}.safetensors"), "--data", str(work / "data"), "--workers", "0"]
    assert main(["evaluate", *where, *flags, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_costs_what_the_pruned_model_costs_on_these_photos_on_average(peer, work, capsys) -> None:
    own = evaluate(work, capsys)
    found = evaluate(work, capsys, "--method", peer)
    assert found["own"]["mean_macs"] == own["mean_macs"]
    assert found["own"]["top1"] == own["top1"]
    assert found["dense"] == str(work / "dense.safetensors")
    plan = fit_plan(peer, TINY, (1, 2, 3), own["mean_macs"])
    assert found["mean_macs"] == plan.macs.total
    assert found["amounts"] == list(plan.amounts)
    assert found["own"]["gain"] == pytest.approx(own["top1"] - found["top1"])


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_writes_a_line_per_photo_and_goes_on_with_them(peer, work, tmp_path, capsys) -> None:
    """Cut after five lines and resumed, it finds what one run without a file finds."""
    out, flags = tmp_path / "lines.jsonl", ["--method", peer, "--seed", "3"]
    plain = evaluate(work, capsys, *flags)
    found = evaluate(work, capsys, *flags, "--out", str(out), "--batch", "4")
    lines = out.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + found["images"] == 13
    out.write_text("".join(lines[:6]))
    resumed = evaluate(work, capsys, *flags, "--out", str(out), "--resume")
    again = out.read_text().splitlines(keepends=True)
    assert again[:6] == lines[:6]
    answers = [[(row["file"], row["top1"]["label"]) for row in map(json.loads, some[1:])] for some in (lines, again)]
    assert answers[0] == answers[1]  # probabilities hang on the batch in their last bits
    for key in ("images", "top1", "top5", "mean_macs", "method", "dense", "amounts"):
        assert plain[key] == found[key] == resumed[key]
    where = ["--model", str(work / "tokens.safetensors"), "--data", str(work / "data"), "--workers", "0"]
    assert (
        main(["evaluate", *where, "--method", "evit" if peer == "tome" else "tome", "--out", str(out), "--resume"]) == 2
    )
    assert "--method" in capsys.readouterr().err


def test_a_budget_makes_a_peer_run_on_a_dense_model_alone(work, capsys) -> None:
    found = evaluate(work, capsys, "--method", "tome", "--budget", "70%", model="dense")
    assert found["mean_macs"] == pytest.approx(0.7 * found["dense_macs"], rel=0.02)
    assert "own" not in found


def test_a_peers_row_is_recorded_under_its_method(work, tmp_path, capsys) -> None:
    rows = tmp_path / "rows.json"
    for _ in range(2):
        evaluate(work, capsys, "--method", "evit", "--record", str(rows))
    evaluate(work, capsys, "--keep", "0.5,0.5,0.25", "--method", "tome", "--record", str(rows))
    assert [row.setting for row in read_rows(rows)] == ["--method evit", "--keep 0.5,0.5,0.25 --method tome"]


def test_a_runner_gives_the_peers_logits_with_the_cost_of_its_plan() -> None:
    model, plan = backbone(), fit_plan("random-dense", TINY, (1, 2), 600_000)
    first, cost, kept = peer_runner(model, plan, seed=1)(images(2))
    again, _, _ = peer_runner(model, plan, seed=1)(images(2))
    other, _, _ = peer_runner(model, plan, seed=2)(images(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    alone = [peer_runner(model, plan, seed=1)(images(2)[at : at + 1])[0] for at in range(2)]
    torch.testing.assert_close(torch.cat(alone), first, atol=1e-5, rtol=0)  # whatever the batch
    assert cost.tolist() == [plan.macs.total] * 2
    assert kept is None


def test_without_a_word_of_its_origin_a_model_is_held_against_the_bundled_one_only_if_that_fits(work) -> None:
    card = read_card(work / "orphan.safetensors")
    with pytest.raises(Exception, match=r"as --dense: its file does not say which\.$"):
        dense_of("orphan", card)
    bundled = read_card(SMALL_ASSETS / f"{FALLBACK}.safetensors")
    assert dense_of("like the bundled one", bundled).spec.name == FALLBACK


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["tokens", "--method", "evit", "--keep", "1,1,1"], "cannot be reached"),
        (["tokens", "--method", "tome", "--budget", "1%"], "cannot be reached"),
        (["tokens", "--method", "tome", "--budget", "lots"], "not 'lots'"),
        (["dense", "--method", "tome"], "needs --budget"),
        (["dense", "--method", "tome", "--budget", "50%", "--dense", "{work}/dense.safetensors"], "omit --dense"),
        (["single", "--method", "tome"], "nothing to be like"),
        (["lvvit", "--method", "tome"], "is of the family lvvit"),
        (["orphan", "--method", "tome"], "as --dense"),
        (["orphan", "--method", "tome", "--dense", "{work}/tokens.safetensors"], "no dense model"),
        (["orphan", "--method", "tome", "--dense", "{work}/reversed.safetensors"], "not the shape and classes"),
        (["orphan", "--method", "tome", "--dense", "{work}/missing.safetensors"], "no file"),
        (["tokens", "--dense", "{work}/dense.safetensors"], "--dense goes with"),
        (["tokens", "--method", "merging"], "invalid choice"),
    ],
)
def test_what_a_peer_cannot_do_gets_one_line_and_exit_status_2(flags, sentence, work, capsys) -> None:
    model, *flags = (flag.format(work=work) for flag in flags)
    where = ["--model", str(work / f"{model}.safetensors"), "--data", str(work / "data"), "--workers", "0"]
    assert main(["evaluate", *where, *flags]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.strip().count("\n") == 0
