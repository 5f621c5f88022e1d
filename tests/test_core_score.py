"""Gates scored without training, against what closing them really does."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch.nn import functional

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.models.cards import SelectorCard
from core.models.load import load
from core.models.weights import save_checkpoint
from core.results import BY_OPEN_GATES
from core.single_path import score as scoring
from core.single_path.compact import compact, derived_gating
from core.single_path.derive import derive, gates_of, settled
from core.single_path.fit import fit_convolutions
from core.single_path.model import SinglePathViT
from core.single_path.score import (
    GateScores,
    _pooled,
    gates_from,
    mixer_scores,
    score,
    set_means,
    unit_scores,
)
from tests import tiny, tiny_swin
from tests.tiny import TINY


def search_form(seed: int = 0) -> SinglePathViT:
    dense = tiny.backbone(seed).requires_grad_(False)
    with torch.no_grad():
        for block in dense.blocks:  # timm's start is so small that an answer hardly hangs on anything
            block.mlp.fc2.weight.mul_(20)
            block.attn.proj.weight.mul_(10)
        dense.head.weight.mul_(20)
    return SinglePathViT(dense, shifts=True).eval()


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float(functional.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="batchmean", log_target=True))


@torch.no_grad()
def test_a_unit_of_constant_activation_leaves_without_a_trace() -> None:
    model = search_form()
    mlp = model.backbone.blocks[1].mlp
    mlp.fc1.weight[5] = 0.0
    mlp.fc1.bias[5] = 2.0
    images = tiny.images(4)
    set_means(model, [images])
    assert model.paths[1].unit_means[5] == pytest.approx(1.9545, abs=1e-4)  # GELU(2)
    gating = model.settled()
    gating.ffn[1][5] = 0.0
    torch.testing.assert_close(model(images, gating), model.backbone(images), atol=1e-5, rtol=1e-5)
    assert unit_scores(model, [images])[1][5] == pytest.approx(0, abs=1e-9)


@torch.no_grad()
def test_means_are_over_tokens_and_photos_whatever_the_batches() -> None:
    model, images = search_form(), tiny.images(5)
    set_means(model, [images])
    whole = [path.unit_means.clone() for path in model.paths]
    set_means(model, [images[:2], images[2:]])
    for path, expected in zip(model.paths, whole, strict=True):
        torch.testing.assert_close(path.unit_means, expected)


def test_a_units_score_is_the_curvature_of_the_answer_along_its_gate(monkeypatch) -> None:
    """KL(dense || gate at 1 - e) = e^2 d^T H d / 2 + O(e^3): one gate is really moved a little, in double precision."""
    model, images = search_form().double(), tiny.images(3).double()
    set_means(model, [images])
    monkeypatch.setattr(scoring, "DRAWS", 1000)
    found = unit_scores(model, [images])
    step = 1e-3
    with torch.no_grad():
        dense = model.backbone(images)
        for block, unit in ((0, 3), (2, 10), (3, 63)):
            gating = model.settled()
            gating.ffn[block][unit] = 1 - step
            assert found[block][unit] == pytest.approx(kl(dense, model(images, gating)) / step**2, rel=0.1)


@torch.no_grad()
def test_a_mixers_score_is_the_kl_of_the_compact_model_without_it() -> None:
    model, images = search_form(), tiny.images(4)
    fit_convolutions(model, [images], steps=2)
    found = mixer_scores(model, [images[:3], images[3:]])
    assert found.shape == (4, 4)
    assert (found[:, 3] == 0).all()
    dense, everything = model.backbone(images), settled(gates_of(model, TINY))
    for block, opened in ((0, 2), (1, 1), (3, 0)):
        mixers = list(everything.mixers)
        mixers[block] = BY_OPEN_GATES[opened]
        changed = compact(model, everything.__class__(**{**vars(everything), "mixers": tuple(mixers)}))
        assert found[block, opened] == pytest.approx(kl(dense, changed(images)), rel=1e-3)


@torch.no_grad()
def test_search_derived_and_compact_form_of_a_scored_model_agree() -> None:
    model, images = search_form(), tiny.images(4)
    score(model, TINY, [tiny.images(8)])
    chosen = derive(gates_of(model, TINY), 0.6 * count_macs(TINY).total)
    assert sum(chosen.ffn_hidden) < 4 * 64
    derived = model(images, derived_gating(chosen, images.device))
    torch.testing.assert_close(compact(model, chosen)(images), derived, atol=1e-4, rtol=1e-4)


def test_the_fit_brings_the_convolutions_nearer_to_their_attention() -> None:
    def distance(steps: int) -> float:
        model, images = search_form(), tiny.images(8)
        fit_convolutions(model, [images], steps=steps)
        return mixer_scores(model, [images])[:, 2].sum()

    assert distance(60) < distance(0)


def test_rungs_that_would_rise_share_a_rate() -> None:
    assert _pooled(np.array([6.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0])).tolist() == [6, 2, 1]
    assert _pooled(np.array([1.0, 5.0, 0.0]), np.array([1.0, 2.0, 1.0])).tolist() == [2, 2, 0]
    assert _pooled(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 1.0])).tolist() == [4, 4, 4]


def test_what_is_worth_least_per_multiply_add_closes_first() -> None:
    mixers = np.tile([4.0, 3.0, 2.0, 0.0], (4, 1))
    mixers[2] = [1e-9, 1e-9, 1e-9, 0.0]  # a block that mixes for nothing
    units = [np.full(64, 1e-2) for _ in range(4)]
    units[1][:10] = 1e-10
    gates = gates_from(GateScores(TINY, 8, mixers, tuple(units)))
    assert settled(gates).mixers == ("msa",) * 4
    dense = count_macs(TINY).total
    first = derive(gates, dense - 1)
    assert first.mixers[2] != "msa" or first.ffn_hidden[1] < 64
    later = derive(gates, dense - count_macs(TINY).attention / 4 - 10 * 2 * 17 * 32)
    assert later.mixers == ("msa", "msa", "skip", "msa")
    assert later.ffn_hidden == (64, 54, 64, 64)


def test_too_few_photos_and_photos_that_all_look_alike_are_refused() -> None:
    model = search_form()
    with pytest.raises(InputError, match="too few to score"):
        score(model, TINY, [tiny.images(7)])
    with pytest.raises(InputError, match="look alike"):
        score(model, TINY, [torch.zeros(8, 3, 32, 32)])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(9):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("family", ["deit", "swin"])
def test_a_scored_model_takes_any_budget(tmp_path, photos, capsys, family) -> None:
    if family == "deit":
        dense, card = search_form().backbone, tiny.CARD
    else:
        dense, card = tiny_swin.swin_path_model().backbone.requires_grad_(False), tiny_swin.SWIN_CARD
    save_checkpoint(tmp_path / "dense.safetensors", dense, card, half=False)
    out = tmp_path / "scored.safetensors"
    arguments = ["--model", tmp_path / "dense.safetensors", "--out", out, "--photos", photos, "--json"]
    assert main(["score", *map(str, arguments)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["photos"] == 9
    for one in told["architectures"]:
        loaded = load(ModelSpec(str(out), budget=one["share"] * count_macs(card.geometry).total))
        assert loaded.architecture.macs == one["macs"] <= one["share"] * loaded.dense_macs
        assert list(loaded.architecture.mixers) == one["mixers"]
    assert load(ModelSpec(str(out))).card.single_path.scored


def test_gates_alone_rest_on_the_dense_file_and_answer_as_the_whole_scored_model(tmp_path, photos, capsys) -> None:
    dense, whole, gates = (tmp_path / f"{name}.safetensors" for name in ("dense", "whole", "gates"))
    save_checkpoint(dense, search_form().backbone, tiny.CARD, half=False)
    for out, flags in ((whole, []), (gates, ["--gates-only"])):
        words = ["score", "--model", dense, "--photos", photos, "--out", out, "--json", *flags]
        assert main(list(map(str, words))) == 0
    with safe_open(gates, "pt") as file:
        assert all(key.startswith("paths.") for key in list(file.keys()))
    budget = 0.7 * count_macs(tiny.CARD.geometry).total
    one, other = (load(ModelSpec(str(path), budget=budget)) for path in (whole, gates))
    torch.testing.assert_close(one.model(tiny.images(2)), other.model(tiny.images(2)))


def test_the_command_refuses_what_cannot_be_scored(tmp_path, photos, capsys) -> None:
    save_checkpoint(tmp_path / "tokens.safetensors", *tokens())
    save_checkpoint(tmp_path / "dense.safetensors", tiny.backbone(), tiny.CARD)
    for index in range(3, 9):
        (photos / f"{index}.png").unlink()
    for flags, sentence in (
        (["--model", tmp_path / "tokens.safetensors", "--out", tmp_path / "a.safetensors"], "pruned already"),
        (["--model", tmp_path / "dense.safetensors", "--out", tmp_path / "a.pth"], "ends in .safetensors"),
        (
            ["--model", tmp_path / "dense.safetensors", "--out", tmp_path / "no" / "a.safetensors"],
            "No such file or directory",
        ),
        (["--model", tmp_path / "dense.safetensors", "--out", tmp_path / "a.safetensors", "--photos", photos], "few"),
    ):
        assert main(["score", *map(str, flags)]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.strip().count("\n") == 0
    assert not (tmp_path / "a.safetensors").exists()


def tokens():
    return tiny.token_model(), replace(tiny.CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
