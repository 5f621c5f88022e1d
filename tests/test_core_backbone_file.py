"""Selectors of a frozen backbone: their file leaves the backbone to the dense model's, which it names by its hash."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core.__main__ import main
from core.config import ModelSpec
from core.errors import InputError
from core.models.cards import BackboneFile, SelectorCard, card_from_json, card_to_json
from core.models.load import load
from core.models.weights import CARD_KEY, lay_beside, read_card, save_checkpoint
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CARD, backbone, draw_folder, images, token_model

SELECTORS = SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True)


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path, SoftTokenViT]:
    """A dense file, that of selectors which rest on it, and the model that the two are."""
    dense, own, model = tmp_path / "dense.safetensors", tmp_path / "tokens.safetensors", token_model()
    save_checkpoint(dense, model.backbone, CARD, half=False)
    card = replace(CARD, selectors=SELECTORS, backbone=lay_beside(dense, own))
    save_checkpoint(own, model, card, half=False)
    return dense, own, model


def sentence(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(ModelSpec(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_file_holds_the_selectors_alone_and_the_two_answer_as_the_one_model(pair) -> None:
    dense, own, model = pair
    with safe_open(own, "pt") as file:
        assert sorted(file.keys()) == sorted(f"selectors.{key}" for key in model.selectors.state_dict())
    assert read_card(own).backbone == BackboneFile(dense.name, hashlib.sha256(dense.read_bytes()).hexdigest())
    loaded = load(ModelSpec(own))
    torch.testing.assert_close(loaded.model(images(2)), model(images(2)))
    assert loaded.method == "tokens"


def test_what_is_saved_of_a_read_model_is_whole_again(pair, tmp_path) -> None:
    _, own, model = pair
    loaded, whole = load(ModelSpec(own)), tmp_path / "elsewhere" / "whole.safetensors"
    whole.parent.mkdir()
    save_checkpoint(whole, loaded.model, loaded.card, half=False)
    torch.testing.assert_close(load(ModelSpec(whole)).model(images(2)), model(images(2)))


def test_a_dense_file_that_is_missing_another_or_cut_off_gets_one_sentence(pair) -> None:
    dense, own, _ = pair
    bytes_before = dense.read_bytes()
    save_checkpoint(dense, backbone(seed=1), CARD, half=False)
    assert "is another file by now" in sentence(own)
    dense.write_bytes(bytes_before[:-4])
    assert "dense.safetensors is damaged" in sentence(own)
    dense.unlink()
    assert "put the dense model that they are for, dense.safetensors, beside it" in sentence(own)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "../dense.safetensors"},
        {"name": "/etc/passwd"},
        {"name": "..\\dense.safetensors"},
        {"name": "dense.pt"},
        {"name": ""},
        {"name": 3},
        {"sha256": "no hash"},
        {"sha256": None},
        {"size": 3},
    ],
    ids=str,
)
def test_a_card_that_names_what_is_no_file_beside_it_is_damaged(given, pair) -> None:
    _, own, _ = pair
    card = json.loads(card_to_json(read_card(own)))
    card["backbone"] |= given
    with pytest.raises(InputError, match="damaged"):
        card_from_json(json.dumps(card))


def test_a_backbone_elsewhere_without_selectors_here_is_damaged(pair) -> None:
    _, own, _ = pair
    card = json.loads(card_to_json(read_card(own)))
    card["selectors"] = None
    with pytest.raises(InputError, match="nothing beside a backbone"):
        card_from_json(json.dumps(card))


def test_a_selectors_file_whose_dense_model_is_of_another_size_is_refused_before_it_is_built(pair) -> None:
    _, own, _ = pair
    card = read_card(own)
    huge = replace(card, geometry=replace(card.geometry, width=32 * 10**4, heads=2))
    save_file(load_file(own), own, metadata={CARD_KEY: card_to_json(huge)})
    assert "does not hold the weights that it describes" in sentence(own)


def test_the_dense_file_is_laid_beside_under_a_name_that_is_free(tmp_path) -> None:
    model, run = tmp_path / "model.safetensors", tmp_path / "run"
    run.mkdir()
    save_checkpoint(model, backbone(), CARD)
    assert lay_beside(model, run / "model.safetensors").name == "dense.safetensors"
    assert (run / "dense.safetensors").read_bytes() == model.read_bytes()
    assert lay_beside(model, run / "tokens.safetensors").name == "model.safetensors"
    (run / "dense.safetensors").write_bytes(b"of an older run")
    lay_beside(model, run / "model.safetensors")
    assert (run / "dense.safetensors").read_bytes() == model.read_bytes()


def test_fine_tuning_with_a_frozen_backbone_moves_selectors_alone(tmp_path, capsys) -> None:
    data, dense, out = draw_folder(tmp_path / "data", per_class=8), tmp_path / "dense.safetensors", tmp_path / "run"
    save_checkpoint(dense, backbone(), CARD)
    flags = ["--data", data, "--out", out, "--epochs", 1, "--batch", 4, "--workers", 0, "--device", "cpu"]
    flags += ["--selectors", "1,2", "--targets", "0.6,0.4", "--lr", "0.01"]

    def tuned(*more: object) -> int:
        return main([str(part) for part in ("finetune", "--model", dense, *flags, *more)])

    assert tuned("--backbone-lr", -1) == 2
    assert "--backbone-lr takes a rate of 0 or more; not -1.0" in capsys.readouterr().err
    assert tuned("--backbone-lr", 0, "--drop-at-random", "--no-packages") == 2
    assert "omit one of them" in capsys.readouterr().err
    assert tuned("--backbone-lr", 0) == 0
    with safe_open(out / "model.safetensors", "pt") as file:
        assert all(key.startswith("selectors.") for key in file.keys())  # noqa: SIM118
    assert (out / "dense.safetensors").read_bytes() == dense.read_bytes()
    loaded = load(ModelSpec(out / "model.safetensors"))
    for key, value in load_file(dense).items():
        assert torch.equal(loaded.model.backbone.state_dict()[key], value.float()), key
    fresh = SoftTokenViT(backbone(), (1, 2)).selectors.state_dict()
    assert any(not torch.equal(value, fresh[key]) for key, value in loaded.model.selectors.state_dict().items())
