"""ViTs without a class token that answer from the mean of their patches: against timm, in both methods, from files."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.__main__ import main
from core.config import Hints, ModelSpec
from core.costs.gap import GapGeometry
from core.costs.macs import count_macs
from core.costs.params import count_params
from core.errors import InputError
from core.families import gap
from core.families.base import Alive
from core.families.families import family_of, family_of_timm
from core.inference.attribution import attribute
from core.inference.trace import trace_tokens
from core.models.load import load, load_model
from core.models.releases.files import read_release
from core.models.weights import save_checkpoint
from core.single_path.compact import compact, derived_gating
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import own_decision, top_share
from core.soft_tokens.fixed import FixedKeepViT
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.stages import image_macs
from tests import tiny
from tests.tiny_gap import CARD, TINY_GAP, gap_backbone, gap_token_model
from viz.blocks import tokens_per_block
from viz.player import player_data
from viz.tokens import stage_sentence

TAGS = ("vit_wee_patch16_reg1_gap_256", "vit_little_patch16_reg4_gap_256", "vit_medium_patch16_gap_240")
"""One and four registers with a norm of the mean and LayerScale; none, with a norm of each token and no biases."""


def timms(name: str, size: int = 64) -> VisionTransformer:
    """timm's model with weights that all matter, LayerScale's too."""
    torch.manual_seed(2)
    model = timm.create_model(name, num_classes=5, img_size=size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def photos(size: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [TAGS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in TAGS[1:])])
@torch.no_grad()
def test_weights_of_timm_answer_as_in_timm_from_a_file_of_either_kind(name, tmp_path) -> None:
    theirs = timms(name)
    for path in (tmp_path / "a.pth", tmp_path / "a.safetensors"):
        state = theirs.state_dict()
        torch.save({"model": state}, path) if path.suffix == ".pth" else save_file(state, path)
        ours, card = read_release(path, Hints(arch=name))
        assert (card.family, card.geometry.prefix_tokens) == ("gap", theirs.num_reg_tokens)
        assert card.normalisation.mean == tuple(theirs.pretrained_cfg["mean"])
        torch.testing.assert_close(ours.eval()(photos()), theirs(photos()), atol=1e-5, rtol=1e-5)
        assert sum(p.numel() for p in ours.parameters()) == count_params(card.geometry).compact


def test_a_file_that_does_not_name_timms_model_is_read_with_what_is_assumed_said(tmp_path) -> None:
    save_file(timms(TAGS[0]).state_dict(), tmp_path / "a.safetensors")
    _, card = read_release(tmp_path / "a.safetensors")
    assert card.geometry.heads == timms(TAGS[0]).blocks[0].attn.num_heads == 4
    assert any("4 attention heads" in note for note in card.notes)
    assert any("normalisation" in note for note in card.notes)


@pytest.mark.parametrize("name", [*TAGS[:2], pytest.param(TAGS[2], marks=pytest.mark.slow)])
def test_names_of_timm_are_of_this_family_with_timms_shape(name) -> None:
    assert family_of_timm(name) is gap
    model = gap.from_timm(name, classes=3, img_size=64)
    assert family_of(model) is gap
    assert model(photos()).shape == (2, 3)
    assert gap.normalisation_of(model).crop_pct == timm.create_model(name, img_size=64).pretrained_cfg["crop_pct"]


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_gap_224", "vit_dwee_patch16_reg1_gap_256"])
def test_a_name_whose_blocks_or_head_are_others_gets_a_sentence(name) -> None:
    with pytest.raises(InputError, match=rf"{name} cannot be pruned here.*; choose a vit_\*_gap_\*"):
        gap.from_timm(name)


@pytest.mark.parametrize("other", [{"act_layer": "quick_gelu"}, {"norm_layer": partial(nn.LayerNorm, eps=1e-5)}])
def test_a_model_of_another_activation_or_norm_is_not_built_as_another_function(other, monkeypatch) -> None:
    made = timm.create_model(TAGS[0], img_size=64, **other)
    monkeypatch.setattr(gap, "create", lambda *given, **more: made)
    with pytest.raises(InputError, match="cannot be pruned here"):
        gap.from_timm(TAGS[0])


def test_multiply_adds_are_those_of_torchs_counter() -> None:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        gap_backbone()(tiny.images(1))
    assert count_macs(TINY_GAP).total == counter.get_total_flops() / 2


@torch.no_grad()
def test_those_of_a_ranking_are_those_of_torchs_counter() -> None:
    """All tokens are queries: 2 T D^2 and T^2 D before each block, where a class token takes one query."""
    model, image = gap_token_model((1, 3), ranked=True), tiny.images(1)
    with FlopCounterMode(display=False) as counter:
        model.run(image, top_share((0.5, 0.25), 16), record=False)
    _, stages = model.run(image, top_share((0.5, 0.25), 16))
    assert image_macs(TINY_GAP, model.blocks, stages, model.layers)[0].total == counter.get_total_flops() / 2


@torch.no_grad()
def test_the_answer_is_the_mean_over_patches_and_packages_each_as_often_as_it_stands_for_patches() -> None:
    """Worked out in NumPy: 2 patches and a package of 3, of 1 patch and packages of 2 and 4."""
    model = gap_backbone()
    patches = torch.randn(3, 32)
    packages = torch.randn(2, 2, 32)
    left = Alive(patches, (2, 1), packages, torch.tensor([[3, 0], [2, 4]]))
    found = gap.classify(model, torch.zeros(2, 5, 32), lambda: left).numpy()
    x, p = patches.double().numpy(), packages.double().numpy()
    means = [(x[0] + x[1] + 3 * p[0, 0]) / 5, (x[2] + 2 * p[1, 0] + 4 * p[1, 1]) / 7]
    norm, head = model.fc_norm, model.head
    for mean, logits in zip(means, found, strict=True):
        scaled = (mean - mean.mean()) / np.sqrt(mean.var() + norm.eps)
        scaled = scaled * norm.weight.double().numpy() + norm.bias.double().numpy()
        np.testing.assert_allclose(logits, head.weight.double().numpy() @ scaled + head.bias.numpy(), rtol=1e-4)


@torch.no_grad()
def test_a_photo_of_which_no_patch_is_left_still_gets_an_answer() -> None:
    model = gap_token_model()
    logits, stages = model.run(tiny.images(2), lambda stage, scores, alive: torch.zeros_like(alive))
    assert not any(stage.kept.any() for stage in stages)
    assert logits.isfinite().all()


@pytest.mark.parametrize("decide", [own_decision, top_share((0.75, 0.5, 0.25), 16), top_share((1, 1, 1), 16)])
@torch.no_grad()
def test_gathered_is_masked_is_each_photo_alone(decide) -> None:
    model, batch = gap_token_model(), tiny.images(4)
    together, stages = model.run(batch, decide)
    masked, _, _ = masked_forward(
        model.backbone, model.by_block(), batch, lambda stage, scores, alive: decide(stage, scores, alive > 0).float()
    )
    alone = torch.cat([model.run(image[None], decide)[0] for image in batch])
    torch.testing.assert_close(together, masked, atol=1e-4, rtol=0)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    if stages[-1].kept.all():
        torch.testing.assert_close(together, model.backbone(batch), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_sum_for_a_package_and_none_at_all_give_the_same_both_ways() -> None:
    model, batch = gap_token_model(), tiny.images(3)
    model.packaging = "weighted_sum"
    masked, _, _ = masked_forward(
        model.backbone,
        model.by_block(),
        batch,
        lambda stage, scores, alive: own_decision(stage, scores, alive > 0).float(),
        "weighted_sum",
    )
    torch.testing.assert_close(model.run(batch, own_decision)[0], masked, atol=1e-4, rtol=0)


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@torch.no_grad()
def test_the_fixed_graph_says_the_same(ranked, alone) -> None:
    model, keep = gap_token_model(ranked=ranked), (0.75, 0.5, 0.25)
    graph = FixedKeepViT(model, keep)
    graph.alone = alone
    batch = tiny.images(1 if alone else 4)
    torch.testing.assert_close(graph(batch), model.run(batch, top_share(keep, 16))[0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_patches_rank_by_how_much_all_tokens_look_at_them() -> None:
    """Softmax and mean in NumPy; with some gone, as if they had never been there."""
    block, x = gap_backbone().blocks[1], torch.randn(1, 18, 32)
    qkv = block.attn.qkv(block.norm1(x))[0].double().numpy().reshape(18, 3, 2, 16)
    found = np.einsum("qhd,thd->hqt", qkv[:, 0], qkv[:, 1]) / 4  # sqrt(16)
    share = np.exp(found - found.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(gap.attended(block, x)[0], share.mean(axis=(0, 1)), rtol=1e-4)
    policy = torch.ones(1, 18)
    policy[0, [3, 7]] = 0
    left = [at for at in range(18) if at not in (3, 7)]
    masked = gap.attended(block, x, policy)[0]
    torch.testing.assert_close(masked[left], gap.attended(block, x[:, left])[0])
    assert masked[[3, 7]].tolist() == [0, 0]


def test_both_methods_work_from_a_saved_model_by_command(tmp_path, capsys) -> None:
    """Ranked tokens, a score and a budget, as a person would type them."""
    dense = tmp_path / "dense.safetensors"
    save_checkpoint(dense, gap_backbone(), CARD, half=False)
    tiny.draw_folder(tmp_path / "data", per_class=4)
    photo = tmp_path / "data" / "val" / "red" / "000.png"
    asked = ["predict", photo, "--model", dense, "--keep", "0.5,0.25", "--blocks", "1,3", "--json"]
    assert main([str(a) for a in asked]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)["images"][0]
    assert found["kept"] == [8, 4]
    assert "ranked by the attention of all tokens before blocks 1, 3" in told.err
    assert found["macs"] < found["dense_macs"] == count_macs(TINY_GAP).total
    scored = tmp_path / "scored.safetensors"
    asked = ["score", "--model", dense, "--photos", tmp_path / "data" / "val", "--out", scored]
    assert main([str(a) for a in asked]) == 0
    budget = int(0.6 * count_macs(TINY_GAP).total)
    left = load(ModelSpec(str(scored), budget=budget)).architecture
    assert count_macs(TINY_GAP, mixers=left.mixers, ffn_hidden=left.ffn_hidden).total <= budget
    assert load_model(str(scored), budget=budget)(tiny.images(2)).isfinite().all()


def test_search_form_and_compact_form_of_a_budget_are_one_function() -> None:
    torch.manual_seed(3)
    model = SinglePathViT(gap_backbone()).eval()
    with torch.no_grad():
        for path in model.paths:
            path.mixer_logits.copy_(torch.randn(3) * 2)
            path.ffn_logits.copy_(torch.randn_like(path.ffn_logits))
    chosen = derive(gates_of(model, TINY_GAP), 0.6 * count_macs(TINY_GAP).total)
    assert set(chosen.mixers) != {"msa"}
    batch = tiny.images(2)
    with torch.no_grad():
        searched = model(batch, derived_gating(chosen, torch.device("cpu")))
        torch.testing.assert_close(compact(model, chosen).eval()(batch), searched, atol=1e-4, rtol=0)


def test_a_rollout_says_why_not(tmp_path) -> None:
    save_checkpoint(tmp_path / "dense.safetensors", gap_backbone(), CARD, half=False)
    loaded = load(ModelSpec(str(tmp_path / "dense.safetensors")))
    with pytest.raises(InputError, match="no class token to roll out"):
        attribute(loaded, Image.new("RGB", (32, 32)), 0, "rollout")


def test_geometries_that_cannot_be_are_refused() -> None:
    for wrong in ({"img_size": 33}, {"heads": 5}, {"prefix_tokens": -1}, {"prefix_tokens": 1.5}, {"classes": 0}):
        with pytest.raises(ValueError, match=r"."):
            replace(TINY_GAP, **wrong)
    assert isinstance(gap.geometry_from(vars(TINY_GAP)), GapGeometry)


def test_what_stands_before_the_patches_is_said_as_it_is(tmp_path) -> None:
    for registers, said in ((2, " and 2 register tokens"), (1, " and one register token"), (0, "")):
        geometry = replace(TINY_GAP, prefix_tokens=registers)
        path = tmp_path / f"{registers}.safetensors"
        save_checkpoint(path, gap_backbone(geometry=geometry), replace(CARD, geometry=geometry), half=False)
        loaded = load(ModelSpec(str(path), keep=(0.5,), blocks=(1,)))
        trace = trace_tokens(loaded, Image.new("RGB", (32, 32)))
        assert stage_sentence(trace, 0) == f"Input: all 16 patches{said} enter block 1."
        assert list(tokens_per_block(trace).data[0].y) == [registers] * 4
        sent = player_data(trace)
        assert (sent["prefix"], sent["first"].lower()) == (registers, said.removeprefix(" and "))
