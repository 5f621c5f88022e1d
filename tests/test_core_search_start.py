"""A search starts from scores: their order, what the search asks for, and nothing that it could not turn round."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.__main__ import main
from core.commands.session import Session
from core.config import ModelSpec
from core.costs.deit import DeitGeometry
from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.models.load import load
from core.models.weights import read_card, read_checkpoint, save_checkpoint
from core.single_path.derive import derive, gates_of
from core.single_path.history import history_file, read_history
from core.single_path.model import SinglePathViT
from core.single_path.score import set_gates
from core.single_path.search import expected_macs
from core.single_path.searched import Gates
from core.single_path.start import start_gates
from core.training.runs import read_settings
from tests.test_core_score import search_form
from tests.tiny import CARD, TINY, backbone, draw_folder, single_path_model
from tests.tiny_swin import SWIN

LOOP = ["--epochs", "1", "--batch", "16", "--workers", "0", "--precision", "no", "--warmup-epochs", "0"]
DENSE = count_macs(TINY).total


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def gates(geometry: Geometry, seed: int = 0) -> Gates:
    rng = np.random.default_rng(seed)
    mixers = -np.sort(-rng.normal(8, 3, (geometry.depth, 3)))
    return Gates(geometry, mixers, tuple(rng.normal(7, 2, width) for width in geometry.ffn_widths))


def flat(geometry: Geometry) -> Gates:
    return Gates(geometry, np.full((geometry.depth, 3), 1.5), tuple(np.full(f, 1.5) for f in geometry.ffn_widths))


def expected(start: Gates, model: SinglePathViT) -> float:
    set_gates(model, start)
    return expected_macs(model, start.geometry).item()


# The map


def test_a_logit_is_a_place_in_the_closing_order_by_macs() -> None:
    """A block of 17 tokens (16 patches), D 32, 2 heads (d 16) and two hidden units, worked out by hand.

    MSA 4 17 32^2 + 2 17^2 32 = 88128; 3x3 16 (9 32 16 + 16 32) = 81920; 1x1 16 (2 32 16) = 16384; unit 2 17 32 = 1088.
    Scores close unit 1, MSA (saves 6208), 3x3 (65536), unit 0, 1x1 (16384): middles 544, 4192, 40064, 73376, 82112 of
    90304 in all.
    """
    one = DeitGeometry(img_size=32, patch=8, width=32, depth=1, heads=2, ffn_hidden=2, classes=3, stem=(8, 16, 32))
    start = start_gates(Gates(one, np.array([[9.0, 2.0, 1.0]]), [np.array([5.0, 0.5])]), count_macs(one).total)
    found = np.array([start.ffn_logits[0][1], *start.mixer_logits[0][::-1][:2], start.ffn_logits[0][0]])
    found = np.array([*found, start.mixer_logits[0][0]])
    np.testing.assert_allclose(found - found[0], 3 * (np.array([544, 4192, 40064, 73376, 82112]) - 544) / 90304)


@pytest.mark.parametrize("geometry", [TINY, SWIN, replace(TINY, heads=1)], ids=["deit", "swin", "one head"])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.8, 1.0])
def test_every_budget_derives_from_the_start_what_it_derives_from_the_scores(geometry, share) -> None:
    """In one head a 3x3 convolution costs more than the attention."""
    scores, dense = gates(geometry), count_macs(geometry).total
    start = start_gates(scores, share * dense)
    as_stored = Gates(geometry, np.float32(start.mixer_logits), [np.float32(units) for units in start.ffn_logits])
    np.testing.assert_array_equal(as_stored.closing_order[0], scores.closing_order[0])
    for asked in (0.45, 0.6, 0.75, 0.9):
        one, other = derive(as_stored, asked * dense), derive(scores, asked * dense)
        assert (one.mixers, one.macs) == (other.mixers, other.macs)
        assert all(map(np.array_equal, one.ffn_kept, other.ffn_kept))


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_the_start_is_expected_to_cost_the_budget_but_no_more_than_a_flat_one(share) -> None:
    model = single_path_model()
    most = expected(flat(TINY), model)
    assert 0.75 < most / DENSE < 0.85
    assert expected(start_gates(gates(TINY), share * DENSE), model) == pytest.approx(min(share * DENSE, most), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("share", [0.32, 0.6, 1.0])
def test_the_start_is_bounded_whatever_the_scores_scale(scale, share) -> None:
    scores = gates(TINY)
    scaled = Gates(TINY, scores.mixer_logits * scale, tuple(units * scale for units in scores.ffn_logits))
    start = start_gates(scaled, share * DENSE)
    everything = np.concatenate((start.mixer_logits.ravel(), *start.ffn_logits))
    assert np.abs(everything).max() < 4.5
    assert 2.5 < np.ptp(everything) < 3
    np.testing.assert_array_equal(start.mixer_logits, start_gates(scores, share * DENSE).mixer_logits)


def test_a_budget_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        start_gates(gates(TINY), 0.05 * DENSE)


# The command


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """data/, dense.safetensors and scored.safetensors, scored on the training photos."""
    root = tmp_path_factory.mktemp("start")
    draw_folder(root / "data")
    save_checkpoint(root / "dense.safetensors", search_form().backbone, CARD, half=False)
    photos = ("--photos", root / "data" / "train", "--out", root / "scored.safetensors")
    assert run("score", "--model", root / "dense.safetensors", *photos, "--device", "cpu") == 0
    return root


@pytest.fixture
def began(monkeypatch) -> list[dict]:
    """The weights of each run as its training begins."""
    found: list[dict] = []
    fit = Session.fit

    def keep(self: Session, step: nn.Module, *rest: object) -> tuple[dict, str]:
        found.append({key: value.clone() for key, value in step.model.state_dict().items()})
        return fit(self, step, *rest)

    monkeypatch.setattr(Session, "fit", keep)
    return found


def search(work: Path, out: Path, *flags: object, model: str = "dense") -> int:
    where = ("--model", work / f"{model}.safetensors", "--data", work / "data", "--out", out, "--device", "cpu")
    return run("search", *where, *LOOP, *flags)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_flat_start_is_the_dense_model_with_all_gates_alike(work, tmp_path, began) -> None:
    assert search(work, tmp_path / "out", "--from-flat") == 0
    assert same(began[0], SinglePathViT(search_form().backbone).state_dict())
    card = read_card(tmp_path / "out" / "model.safetensors")
    assert not card.single_path.shifts
    assert (read_history(history_file(tmp_path / "out" / "model.safetensors"), TINY).mixer_logits[0] == 1.5).all()


def test_a_search_of_a_dense_model_starts_where_that_of_its_scores_does(work, tmp_path, began) -> None:
    assert search(work, tmp_path / "a") == 0
    assert search(work, tmp_path / "b", "--from-scores", model="scored") == 0
    assert same(*began)
    state, _ = read_checkpoint(work / "scored.safetensors")
    for key, value in state.items():
        moved = key.endswith(("mixer_logits", "ffn_logits"))
        assert torch.equal(began[1][key], value) is not moved, f"{key}: what was fitted travels, gates are spread"
    for name in "ab":
        card = read_card(tmp_path / name / "model.safetensors")
        assert (card.single_path.shifts, card.single_path.scored, card.single_path.alpha) == (True, False, 0.01)
        assert card.training["dense"].endswith("dense.safetensors")
        assert load(ModelSpec(str(tmp_path / name / "model.safetensors"), budget=0.6 * DENSE)).architecture.macs > 0


def test_what_a_search_starts_from_derives_what_the_scored_file_does(work, tmp_path, began) -> None:
    assert search(work, tmp_path / "out", "--budget", "70%") == 0
    model = SinglePathViT(backbone(), shifts=True)
    model.load_state_dict(began[0])
    for share in (0.5, 0.7, 0.9):
        scored = load(ModelSpec(str(work / "scored.safetensors"), budget=share * DENSE)).architecture
        found = derive(gates_of(model, TINY), share * DENSE)
        assert (found.mixers, found.ffn_hidden) == (scored.mixers, scored.ffn_hidden)
    assert expected_macs(model, TINY).item() == pytest.approx(0.7 * DENSE, rel=1e-4)


def test_a_run_is_resumed_as_it_was_started(work, tmp_path, capsys, began) -> None:
    for name, flags in (("scores", ()), ("flat", ("--from-flat",))):
        assert search(work, tmp_path / name, *flags) == 0
        capsys.readouterr()
        assert search(work, tmp_path / name, "--resume") == 0, "what is not said is as it was"
        assert "Scoring" not in capsys.readouterr().err
    assert search(work, tmp_path / "scores", "--resume", "--from-flat") == 2
    assert "other settings (from_scores True, now None)" in capsys.readouterr().err
    assert search(work, tmp_path / "flat", "--resume", "--from-scores") == 2
    path = tmp_path / "flat" / "settings.json"
    settings = read_settings(path.parent)
    del settings["from_scores"]
    path.write_text(json.dumps(settings))
    assert search(work, tmp_path / "flat", "--resume") == 0, "a run from before there was a choice started flat"
    assert search(work, tmp_path / "flat", "--resume", "--from-flat") == 0


@pytest.mark.parametrize(
    ("model", "flags", "sentence"),
    [
        ("scored", ["--from-flat"], "give the dense model that it came from"),
        ("scored", ["--alpha", "0.5"], "was scored at --alpha 0.01"),
        ("dense", ["--limit-per-class", "2", "--batch", "2"], "--from-flat starts a search without scores"),
        ("scored", ["--budget", "5%"], "cannot be reached"),
        ("dense", ["--from-flat", "--from-scores"], "not allowed with"),
    ],
)
def test_a_start_that_cannot_be_is_refused_and_nothing_is_written(
    work, tmp_path, capsys, model, flags, sentence
) -> None:
    assert search(work, tmp_path / "out", *flags, model=model) == 2
    error = capsys.readouterr().err
    assert sentence in error.splitlines()[-1]
    assert not (tmp_path / "out").exists(), "something was written"


# Any budget, at once


def test_one_command_scores_a_dense_model_and_trains_it_for_any_budget(work, tmp_path, capsys, began) -> None:
    rest = ("--data", work / "data", "--least", "90%", "--device", "cpu", *LOOP)
    out = tmp_path / "out"
    assert run("finetune", "--model", work / "dense.safetensors", "--any-budget", "--out", out, *rest) == 0
    assert "Scoring" in capsys.readouterr().err
    loaded = load(ModelSpec(str(out / "model.safetensors"), budget=0.9 * DENSE))
    assert loaded.card.single_path.budgets[0] == 0.9
    assert loaded.card.single_path.fit_to_predict
    assert loaded.card.training["dense"].endswith("dense.safetensors")
    assert not loaded.card.only_scored
    model = SinglePathViT(backbone(), shifts=True, budgets=loaded.card.single_path.budgets)
    model.load_state_dict(began[0])
    assert loaded.architecture.mixers == derive(gates_of(model, TINY), 0.9 * DENSE).mixers, "the gates stand still"
    again = ("--any-budget", "--resume", "--out", out, *rest)
    assert run("finetune", "--model", work / "dense.safetensors", *again) == 0
    scored = ("--model", work / "scored.safetensors", "--any-budget", "--out", tmp_path / "b")
    assert run("finetune", *scored, *rest) == 0
    assert "Scoring" not in capsys.readouterr().err
    budget = ("--any-budget", "--budget", "60%", "--out", tmp_path / "c")
    assert run("finetune", "--model", work / "dense.safetensors", *budget, *rest) == 2
    assert "omit --budget" in capsys.readouterr().err


def test_a_scored_model_is_only_scored_in_its_compact_form_too(work, tmp_path) -> None:
    scored = work / "scored.safetensors"
    assert read_card(scored).only_scored
    made = tmp_path / "compact.safetensors"
    assert run("export", "--model", scored, "--budget", "90%", "--out", made) == 0
    assert read_card(made).compact is not None
    assert read_card(made).only_scored


@pytest.mark.parametrize("flags", [("--rank-by", "saliency"), ("--backbone-lr", "1e-5")])
def test_what_is_for_selectors_is_refused_where_none_are_trained(work, tmp_path, capsys, flags) -> None:
    rest = ("--data", work / "data", "--out", tmp_path / "out", "--device", "cpu", *LOOP, *flags)
    assert run("finetune", "--model", work / "dense.safetensors", "--any-budget", *rest) == 2
    assert f"trains no token selectors; omit {flags[0]}." in capsys.readouterr().err
    assert run("finetune", "--model", work / "scored.safetensors", "--budget", "60%", *rest) == 2
    assert f"trains no token selectors; omit {flags[0]}." in capsys.readouterr().err
