"""Weights files: ours and other people's, whole and damaged."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.config import ModelSpec
from core.costs.deit import DeitGeometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.families import deit
from core.models.cards import (
    SelectorCard,
    SinglePathCard,
    card_from_json,
    card_to_json,
)
from core.models.load import load, load_model
from core.models.weights import read_checkpoint, save_checkpoint
from tests.tiny import CARD, TINY, backbone, images, single_path_model, token_model

TOKENS = replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True), training={"epochs": 3})
SINGLE = replace(CARD, single_path=SinglePathCard(0.01, False))


class Evil:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('this code ran')",))


@pytest.mark.parametrize("card", [CARD, TOKENS, SINGLE])
def test_a_card_survives_being_stored(card) -> None:
    assert card_from_json(card_to_json(card)) == card


@pytest.mark.parametrize(
    ("model", "card"), [(backbone(), CARD), (token_model(), TOKENS), (single_path_model(), SINGLE)], ids=str
)
@torch.no_grad()
def test_a_saved_model_answers_the_same_up_to_half_precision(model, card, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, card)
    save_checkpoint(path, model, card)  # over an older one
    loaded = load(ModelSpec(str(path)))
    assert loaded.card == card
    assert list(tmp_path.iterdir()) == [path], "a temporary file was left"
    stored = read_checkpoint(path)[0]
    for key, value in model.state_dict().items():
        gates = key.endswith(("mixer_logits", "ffn_logits"))  # their order decides what a budget keeps
        rounded = value.half().float() if value.is_floating_point() and not gates else value
        assert torch.equal(stored[key], rounded), key
    torch.testing.assert_close(loaded.model(images(2)), model(images(2)), atol=1e-4, rtol=0)


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(tmp_path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", token_model(), TOKENS)
    model = load_model(str(tmp_path / "m.safetensors"), keep=(0.5, 0.25, 0.25))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.run(images(1))[1][0].kept.sum() == 8


def test_a_budget_gives_a_model_that_costs_no_more(tmp_path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", single_path_model(), SINGLE)
    budget = 0.5 * count_macs(TINY).total
    loaded = load(ModelSpec(str(tmp_path / "m.safetensors"), budget=budget))
    assert loaded.architecture.macs <= budget
    assert loaded.stored_params > sum(p.numel() for p in loaded.model.parameters())


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"threshold": 0.5}, "no token selectors"),
        ({"budget": 1e6}, "no gates"),
    ],
)
def test_a_setting_that_the_model_does_not_have_is_refused(spec, sentence, tmp_path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", backbone(), CARD)
    with pytest.raises(InputError, match=sentence):
        load(ModelSpec(str(tmp_path / "m.safetensors"), **spec))


def damaged(path: Path, how: str) -> None:
    """Write a checkpoint that is wrong in one way."""
    model = backbone()
    card = replace(CARD, geometry=replace(TINY, depth=3)) if how == "depth" else CARD
    save_checkpoint(path, model, card)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    if how == "nan":
        state = {**model.state_dict(), "norm.bias": torch.full((32,), float("nan"))}
        save_file(state, str(path), metadata={"prunescope": card_to_json(CARD)})
    if how == "empty":
        path.write_bytes(b"")
    if how == "foreign":
        save_file({"weight": torch.zeros(2)}, str(path))
    if how == "card":
        save_file({"weight": torch.zeros(2)}, str(path), metadata={"prunescope": '{"format": 1}'})
    if how == "format":
        save_file({"weight": torch.zeros(2)}, str(path), metadata={"prunescope": '{"format": 99}'})


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path) -> None:
    model = backbone()
    with torch.no_grad():
        model.head.weight[0, 0] = 1e5
    with pytest.raises(InputError, match="too large"):
        save_checkpoint(tmp_path / "m.safetensors", model, CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_contradicts_itself_is_damaged() -> None:
    good = card_to_json(TOKENS)
    for wrong in (
        good.replace('"heads": 2', '"heads": 3'),
        good.replace('"heads": 2', '"heads": 0'),
        good.replace('"depth": 4', '"depth": "4"'),
        good.replace('"family": "deit"', '"family": "swin"'),
        good.replace('"targets": [0.7, 0.5, 0.3]', '"targets": [0.7]'),
        good.replace('{"wnid": null, "label": "red"}, ', ""),
    ):
        assert wrong != good
        with pytest.raises(InputError, match="damaged"):
            card_from_json(wrong)


NAMELESS = ("bundled-nothing", "no/such/file.safetensors", "no_such_model", "missing.pth", "~nobody/x", "x" * 300, "")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("cut", "damaged"),
        ("empty", "damaged"),
        ("nan", "no numbers"),
        ("depth", "does not hold the weights that it describes"),
        ("foreign", "holds no DeiT weights"),
        ("card", "damaged"),
        ("format", "format 99"),
    ],
)
def test_a_damaged_file_gets_one_sentence(how, sentence, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    damaged(path, how)
    with pytest.raises(InputError, match=sentence) as caught:
        load(ModelSpec(str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMELESS)
def test_a_name_that_is_nothing_says_where_names_are_listed(name) -> None:
    with pytest.raises(InputError, match="models"):
        load(ModelSpec(name))


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "vit_base_patch16_clip_224"])
def test_a_model_of_timm_that_cannot_be_pruned_is_refused_or_not_here(name) -> None:
    with pytest.raises(InputError, match=r"cannot be pruned|not on this machine"):
        load(ModelSpec(name))


def test_weights_that_are_not_here_say_so_at_once(monkeypatch) -> None:
    monkeypatch.setattr("core.models.registry.try_to_load_from_cache", lambda repo, file: None)
    with pytest.raises(InputError, match="not on this machine"):
        load(ModelSpec("deit_small_patch16_224"))


def test_a_tag_that_timm_does_not_have_is_named() -> None:
    with pytest.raises(InputError, match=r"no weights deit_small_patch16_224\.no_such_tag"):
        load(ModelSpec("deit_small_patch16_224.no_such_tag"))


def test_a_timm_name_can_be_described_without_weights() -> None:
    assert load(ModelSpec("deit_tiny_patch16_224"), weights=False).dense_macs == 1_253_683_200


@pytest.mark.parametrize("prefix", [1, 2])
@torch.no_grad()
def test_a_plain_deit_file_loads_by_path_and_equals_timm(prefix, tmp_path) -> None:
    geometry = DeitGeometry(48, 16, 128, 3, 2, 96, 5, prefix_tokens=prefix, distilled=prefix == 2)
    model = deit.build(geometry).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "deit.pth")
    loaded = load(ModelSpec(str(tmp_path / "deit.pth")))
    assert loaded.card.geometry == geometry
    batch = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(loaded.model(batch), model(batch))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": Evil()}, path)
    with pytest.raises(InputError, match="could run code"):
        load(ModelSpec(str(path)))
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"could run code|damaged"):
        load(ModelSpec(str(path)))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [({"model": {}}, "no state_dict"), ([1, 2], "no state_dict"), ({"a": torch.zeros(1)}, "no DeiT weights")],
)
def test_a_pickle_without_a_deit_is_refused(content, sentence, tmp_path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=sentence):
        load(ModelSpec(str(tmp_path / "x.pth")))


def test_a_cut_off_pickle_is_refused(tmp_path) -> None:
    path = tmp_path / "deit.pth"
    torch.save({"model": backbone().state_dict()}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        load(ModelSpec(str(path)))
