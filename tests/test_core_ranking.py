"""Tokens pruned with nothing trained: a ranking by class attention in the place of selectors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.families.block import class_row, looks
from core.models.cards import SelectorCard
from core.models.load import load, load_model
from core.models.macs import fixed_macs
from core.models.weights import save_checkpoint
from core.soft_tokens.decide import attention_mass, top_share
from core.soft_tokens.fixed import FixedKeepViT
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.ranking import ranked_scores
from core.soft_tokens.stages import image_macs
from tests import lvvit, tiny, tiny_pit
from tests.tiny import TINY
from tests.tiny_gap import gap_token_model

KEEP = (0.75, 0.5, 0.25)


def wild(model: torch.nn.Module, factor: float = 8) -> torch.nn.Module:
    """Attention that tells patches apart: timm's start looks everywhere alike."""
    with torch.no_grad():
        for block in model.blocks if hasattr(model, "blocks") else (b for s in model.transformers for b in s.blocks):
            block.attn.qkv.weight.mul_(factor)
    return model


def families() -> dict:
    return {
        "deit": (SoftTokenViT(wild(tiny.backbone()), (1, 2, 3), ranked=True).eval(), tiny.images),
        "lvvit": (SoftTokenViT(wild(lvvit.dense()), (1, 2, 3), ranked=True).eval(), lvvit.images),
        "gap": (gap_token_model(ranked=True), tiny.images),
        "pit": (SoftTokenViT(wild(tiny_pit.pit_backbone(), 3), tiny_pit.BLOCKS, ranked=True).eval(), tiny.images),
    }


@torch.no_grad()
def test_one_row_of_the_attention_is_that_of_all_of_it() -> None:
    block = wild(tiny.backbone()).blocks[0]
    x = torch.randn(3, 9, 32)
    expected = looks(block.attn, x)[:, :, 0].mean(dim=1)
    torch.testing.assert_close(class_row(block.attn, x), expected)
    there = torch.tensor([[1, 1, 0, 1, 0, 1, 1, 1, 1.0]] * 3)
    among = looks(block.attn, x[:, there[0] > 0])[:, :, 0].mean(dim=1)
    masked = class_row(block.attn, x, there)
    torch.testing.assert_close(masked[:, there[0] > 0], among)
    assert (masked[:, there[0] == 0] == 0).all()


@torch.no_grad()
def test_the_patches_that_the_class_token_looks_at_most_stay_and_the_others_weigh_their_share() -> None:
    """Softmax, order and weighted mean in NumPy, on what comes into the block."""
    model = SoftTokenViT(wild(tiny.backbone()), (2,), ranked=True).eval()
    image = tiny.images(1)
    x = model.backbone.patch_embed(image)
    x = model.backbone._pos_embed(x)
    for block in model.backbone.blocks[:2]:
        x = block(x)
    block = model.backbone.blocks[2]
    qkv = block.attn.qkv(block.norm1(x))[0].double().numpy().reshape(17, 3, 2, 16)
    scores = np.einsum("hd,thd->ht", qkv[0, 0], qkv[:, 1]) / 4  # sqrt(16)
    share = np.exp(scores - scores.max(axis=1, keepdims=True))
    look = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)[1:]
    _, (stage,) = model.run(image, top_share((0.25,), 16))
    kept = np.argsort(-look)[:4]
    assert set(stage.kept[0].nonzero()[:, 0].tolist()) == set(kept.tolist())
    dropped = np.delete(np.arange(16), kept)
    np.testing.assert_allclose(stage.package_weight[0][dropped], look[dropped] / look[dropped].sum(), rtol=1e-4)
    np.testing.assert_allclose(stage.keep_prob[0], look, rtol=1e-4)


@pytest.mark.parametrize("rule", ["keep", "mass"])
@pytest.mark.parametrize("family", ["deit", "gap", "lvvit", "pit"])
@torch.no_grad()
def test_removing_is_masking_in_any_batch(family, rule) -> None:
    model, images = families()[family]
    batch = images(6)
    shares = (0.75, 0.5, 0.25)[: len(model.blocks)] if family != "pit" else (0.6,) * len(model.blocks)
    decide = attention_mass(0.8) if rule == "mass" else top_share(shares, model.patches)
    together, stages = model.run(batch, decide)
    masked, _, masked_stages = masked_forward(
        model.backbone, model.by_block(), batch, lambda stage, scores, alive: decide(stage, scores, alive > 0).float()
    )
    for one, other in zip(stages, masked_stages, strict=True):
        assert torch.equal(one.kept, other.kept)
    assert not bool(stages[-1].kept.all())
    torch.testing.assert_close(together, masked, atol=1e-4, rtol=0)
    alone = torch.cat([model.run(image[None], decide)[0] for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    if rule == "mass" and family == "deit":
        assert len(stages[-1].kept.sum(dim=1).unique()) > 1, "every photo keeps as many: the test shows little"


def test_the_fewest_patches_that_hold_the_mass_stay() -> None:
    scores = ranked_scores(torch.tensor([[0.1, 0.4, 0.2, 0.05], [0.2, 0.2, 0.2, 0.2]]))  # of 0.75 and 0.8
    everyone = torch.ones(2, 4, dtype=torch.bool)
    assert attention_mass(0.75)(0, scores, everyone).tolist() == [[False, True, True, False], [True, True, True, False]]
    assert attention_mass(1.0)(0, scores, everyone).all()
    alive = torch.tensor([[True, False, True, True], [True] * 4])  # of 0.35 in the first row
    assert attention_mass(0.5)(0, scores, alive)[0].tolist() == [False, False, True, False]


@torch.no_grad()
def test_macs_are_those_of_torchs_counter() -> None:
    model = SoftTokenViT(wild(tiny.backbone()), (1, 3), ranked=True).eval()
    image = tiny.images(1)
    counter = FlopCounterMode(display=False)
    with counter:
        _, stages = model.run(image, top_share((0.5, 0.25), 16), record=False), None
    _, stages = model.run(image, top_share((0.5, 0.25), 16))
    assert image_macs(TINY, model.blocks, stages, model.layers)[0].total == counter.get_total_flops() / 2


@pytest.mark.parametrize("alone", [True, False])
@torch.no_grad()
def test_the_fixed_graph_says_the_same(alone) -> None:
    model = SoftTokenViT(wild(tiny.backbone()), (1, 2, 3), decide=top_share(KEEP, 16), ranked=True).eval()
    graph = FixedKeepViT(model, KEEP)
    graph.alone = alone
    images = tiny.images(1 if alone else 4)
    torch.testing.assert_close(graph(images), model(images), atol=1e-4, rtol=0)


@pytest.fixture
def dense(tmp_path):
    save_checkpoint(tmp_path / "dense.safetensors", wild(tiny.backbone()), tiny.CARD, half=False)
    return str(tmp_path / "dense.safetensors")


@torch.no_grad()
def test_any_dense_model_takes_keep_ratios_before_the_blocks_that_are_named(dense) -> None:
    images = tiny.images(2)
    model = load_model(dense, keep=KEEP, blocks=(1, 2, 3))
    expected = SoftTokenViT(load_model(dense), (1, 2, 3), decide=top_share(KEEP, 16), ranked=True)
    torch.testing.assert_close(model(images), expected(images))
    assert load(ModelSpec(dense, keep=(0.5, 0.25))).model.blocks == (1, 2)  # spread from a quarter of the depth on
    found = load(ModelSpec(dense, mass=0.9))
    assert found.card.selectors.ranked
    assert not found.card.selectors.trained
    assert found.method == "tokens"
    torch.testing.assert_close(load_model(dense, keep=(1.0,))(images), load_model(dense)(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep": (0.5,), "blocks": (9,)}, "before blocks 1 to 3"),
        ({"keep": (0.5, 0.5), "blocks": (1,)}, "takes 1 shares"),
        ({"mass": 1.5}, "attention mass is a share"),
        ({"mass": 0.9, "keep": (0.5,)}, "only one of them"),
        ({"blocks": (1,)}, "need a keep ratio"),
        ({"threshold": 0.5}, "no token selectors"),
        ({"packaging": "weighted_sum"}, "folds no patches"),
        ({"keep": (0.5,) * 9}, "room for 3"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(dense, settings, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        load_model(dense, **settings)


def test_models_with_selectors_say_why_not(tmp_path) -> None:
    card = replace(tiny.CARD, selectors=SelectorCard((1, 2, 3), KEEP, True))
    save_checkpoint(tmp_path / "tokens.safetensors", tiny.token_model(), card)
    for settings, sentence in (({"blocks": (1,), "keep": (0.5,)}, "omit --blocks"), ({"mass": 0.5}, "no attention")):
        with pytest.raises(InputError, match=sentence):
            load_model(str(tmp_path / "tokens.safetensors"), **settings)


def test_commands_take_it(dense, tmp_path, capsys) -> None:
    tiny.draw_folder(tmp_path / "data", per_class=2)
    photo = tmp_path / "data" / "val" / "red" / "000.png"
    assert main(["predict", str(photo), "--model", dense, "--keep", "0.5,0.25", "--blocks", "1,3", "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)["images"][0]
    assert found["kept"] == [8, 4]
    assert found["macs"] < found["dense_macs"] == count_macs(TINY).total
    assert "ranked by class attention before blocks 1, 3" in told.err
    arguments = ["evaluate", "--model", dense, "--data", tmp_path / "data", "--mass", "0.5", "--workers", "0", "--json"]
    assert main([str(a) for a in arguments]) == 0
    assert json.loads(capsys.readouterr().out)["mean_macs"] < count_macs(TINY).total


@pytest.mark.slow
def test_it_is_exported_as_onnx_that_answers_alike(dense, tmp_path, capsys) -> None:
    tiny.draw_folder(tmp_path / "data", per_class=1)
    photo, path = tmp_path / "data" / "val" / "red" / "000.png", tmp_path / "a.onnx"
    arguments = ["export", "--model", dense, "--keep", "0.5,0.25", "--out", path, "--photos", photo, "--json"]
    assert main([str(a) for a in [*arguments, "--blocks", "1,3"]]) == 0
    (told,) = json.loads(capsys.readouterr().out)["files"]
    assert told["largest_difference"] < 1e-4
    expected = load(ModelSpec(dense, keep=(0.5, 0.25), blocks=(1, 3)))
    assert told["macs"] == fixed_macs(expected) < fixed_macs(load(ModelSpec(dense, keep=(0.5, 0.25), blocks=(2, 3))))


def test_bench_measures_a_dense_model_ranked_as_the_flags_say(dense, capsys) -> None:
    arguments = ["bench", "--model", dense, "--batch", "2", "--repeats", "4", "--json"]
    assert main([*arguments, "--keep", "0.5,0.25", "--blocks", "1,3"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    expected = load(ModelSpec(dense, keep=(0.5, 0.25), blocks=(1, 3)))
    assert row["mac_ratio"] == pytest.approx(count_macs(TINY).total / fixed_macs(expected))
    assert row["kept"] == [[8, 8], [4, 4]]
    assert main([*arguments, "--mass", "0.6", "--blocks", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert 1 <= row["kept"][0][0] <= row["kept"][0][1] < 16
    assert main([*arguments, "--blocks", "1"]) == 2
    assert "need a keep ratio" in capsys.readouterr().err
