"""ViTs that answer from an attention pooling: against timm, and in both methods."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.costs.params import count_params
from core.errors import InputError
from core.families import latent
from core.families.base import Alive
from core.families.families import family_of, family_of_timm
from core.models import taken
from core.models.load import load, load_model
from core.models.weights import save_checkpoint
from core.single_path.compact import compact, derived_gating
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import own_decision, top_share
from core.soft_tokens.fixed import FixedKeepViT
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.stages import image_macs
from tests import tiny
from tests.tiny_latent import CARD, TINY_LATENT, latent_backbone, latent_token_model


@pytest.mark.parametrize(("activation", "registers"), [("gelu", 0), ("gelu_tanh", 3)])
@torch.no_grad()
def test_timms_weights_answer_as_in_timm(activation, registers, monkeypatch) -> None:
    """LayerScale, which is folded, included."""
    torch.manual_seed(2)
    theirs = timm.create_model(
        "vit_base_patch16_siglip_224",
        **{"num_classes": 5, "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
        **{"act_layer": activation, "reg_tokens": registers, "no_embed_class": True, "init_values": 0.5},
    ).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    monkeypatch.setattr(latent, "create", lambda *given, **more: theirs)
    ours = latent.from_timm("vit_base_patch16_siglip_224", pretrained=True).eval()
    assert family_of(ours) is latent
    geometry = latent.geometry_of(ours)
    assert (geometry.prefix_tokens, geometry.activation) == (registers, activation)
    torch.testing.assert_close(ours(tiny.images(2)), theirs(tiny.images(2)), atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == count_params(geometry).compact


@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "vit_so400m_patch14_siglip_224"])
def test_names_of_timm_are_of_this_family(name) -> None:
    assert family_of_timm(name) is latent
    assert taken.timm_name(name).why_not is None
    assert family_of_timm("vit_base_patch16_siglip_gap_224") is not latent


@pytest.mark.parametrize("other", [{"act_layer": "quick_gelu"}, {"pool_include_prefix": True}, {"qk_norm": True}])
def test_one_of_other_parts_is_not_built_as_another_function(other, monkeypatch) -> None:
    made = timm.create_model("vit_base_patch16_siglip_224", num_classes=3, embed_dim=32, depth=1, num_heads=2, **other)
    monkeypatch.setattr(latent, "create", lambda *given, **more: made)
    with pytest.raises(InputError, match="cannot be pruned here"):
        latent.from_timm("vit_base_patch16_siglip_224")


def test_multiply_adds_are_those_of_torchs_counter() -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        latent_backbone()(tiny.images(1))
    assert count_macs(TINY_LATENT).total == counter.get_total_flops() / 2


@torch.no_grad()
def test_those_of_what_is_left_are_too() -> None:
    """The pooling looks at fewer tokens: those that are left, and packages."""
    model, image = latent_token_model((1, 3), ranked=True), tiny.images(1)
    with FlopCounterMode(display=False) as counter:
        model.run(image, top_share((0.5, 0.25), 16), record=False)
    _, stages = model.run(image, top_share((0.5, 0.25), 16))
    assert image_macs(TINY_LATENT, model.blocks, stages, model.layers)[0].total == counter.get_total_flops() / 2


@torch.no_grad()
def test_a_package_of_three_patches_counts_as_three_equal_keys() -> None:
    """As timm's own pooling has it when the package is there three times; images of 2 and 1 patches."""
    model = latent_backbone()
    patches, packages = torch.randn(3, 32), torch.randn(2, 2, 32)
    left = Alive(patches, (2, 1), packages, torch.tensor([[3, 0], [2, 4]]))
    found = latent.classify(model, torch.zeros(2, 5, 32), lambda: left)
    first = torch.cat((patches[:2], packages[0, :1].expand(3, -1)))
    second = torch.cat((patches[2:], packages[1, :1].expand(2, -1), packages[1, 1:].expand(4, -1)))
    for tokens, logits in zip((first, second), found, strict=True):
        expected = model.head(model.attn_pool(model.norm(tokens)[None]))[0]
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_photo_of_which_no_patch_is_left_still_gets_an_answer() -> None:
    logits, _ = latent_token_model().run(tiny.images(2), lambda stage, scores, alive: torch.zeros_like(alive))
    assert logits.isfinite().all()


@pytest.mark.parametrize("decide", [own_decision, top_share((0.75, 0.5, 0.25), 16), top_share((1, 1, 1), 16)])
@torch.no_grad()
def test_gathered_is_masked_is_each_photo_alone(decide) -> None:
    model, batch = latent_token_model(), tiny.images(4)
    together, stages = model.run(batch, decide)
    masked, _, _ = masked_forward(
        model.backbone, model.by_block(), batch, lambda stage, scores, alive: decide(stage, scores, alive > 0).float()
    )
    alone = torch.cat([model.run(image[None], decide)[0] for image in batch])
    torch.testing.assert_close(together, masked, atol=1e-4, rtol=0)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)
    if stages[-1].kept.all():
        torch.testing.assert_close(together, model.backbone(batch), atol=1e-4, rtol=0)


@pytest.mark.parametrize("alone", [True, False])
@torch.no_grad()
def test_the_fixed_graph_says_the_same(alone) -> None:
    model, keep = latent_token_model(ranked=True), (0.75, 0.5, 0.25)
    graph = FixedKeepViT(model, keep)
    graph.alone = alone
    batch = tiny.images(1 if alone else 4)
    torch.testing.assert_close(graph(batch), model.run(batch, top_share(keep, 16))[0], atol=1e-4, rtol=0)


def test_search_form_and_compact_form_of_a_budget_are_one_function() -> None:
    torch.manual_seed(3)
    model = SinglePathViT(latent_backbone()).eval()
    with torch.no_grad():
        for path in model.paths:
            path.mixer_logits.copy_(torch.randn(3) * 2)
            path.ffn_logits.copy_(torch.randn_like(path.ffn_logits))
    chosen = derive(gates_of(model, TINY_LATENT), 0.7 * count_macs(TINY_LATENT).total)
    assert set(chosen.mixers) != {"msa"}
    batch = tiny.images(2)
    with torch.no_grad():
        searched = model(batch, derived_gating(chosen, torch.device("cpu")))
        torch.testing.assert_close(compact(model, chosen).eval()(batch), searched, atol=1e-4, rtol=0)


def test_both_methods_work_from_a_saved_model_by_command(tmp_path, capsys) -> None:
    dense = tmp_path / "dense.safetensors"
    save_checkpoint(dense, latent_backbone(), CARD, half=False)
    tiny.draw_folder(tmp_path / "data", per_class=4)
    photo = tmp_path / "data" / "val" / "red" / "000.png"
    asked = ["predict", photo, "--model", dense, "--keep", "0.5,0.25", "--blocks", "1,3", "--json"]
    assert main([str(a) for a in asked]) == 0
    found = json.loads(capsys.readouterr().out)["images"][0]
    assert found["kept"] == [8, 4]
    assert found["macs"] < found["dense_macs"] == count_macs(TINY_LATENT).total
    scored = tmp_path / "scored.safetensors"
    asked = ["score", "--model", dense, "--photos", tmp_path / "data" / "val", "--out", scored]
    assert main([str(a) for a in asked]) == 0
    budget = int(0.7 * count_macs(TINY_LATENT).total)
    left = load(ModelSpec(str(scored), budget=budget)).architecture
    assert count_macs(TINY_LATENT, mixers=left.mixers, ffn_hidden=left.ffn_hidden).total <= budget
    assert load_model(str(scored), budget=budget)(tiny.images(2)).isfinite().all()


def test_weights_go_over_to_finer_patches_and_other_classes() -> None:
    before = latent_backbone()
    larger = latent.build(replace(TINY_LATENT, img_size=48, classes=2))
    latent.take_over(larger, before, [2, None])
    assert torch.equal(larger.head.weight[0], before.head.weight[2])
    assert larger.pos_embed.shape == (1, 36, 32)
    assert isinstance(larger.attn_pool, nn.Module)
    assert torch.equal(larger.attn_pool.latent, before.attn_pool.latent)


def test_geometries_that_cannot_be_are_refused() -> None:
    for wrong in ({"img_size": 33}, {"heads": 5}, {"prefix_tokens": -1}, {"classes": 0}, {"activation": "relu"}):
        with pytest.raises(ValueError, match=r"."):
            replace(TINY_LATENT, **wrong)
