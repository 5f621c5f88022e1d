"""LV-ViT: its files, its counts, and soft token pruning whose answer looks at the patches that are still alive."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from core.config import ModelSpec
from core.costs.lvvit import LVVIT, LvvitGeometry, aux_macs, stem_macs
from core.costs.macs import count_macs, macs_per_block
from core.errors import InputError
from core.families import lvvit
from core.inference.trace import trace_tokens
from core.models.cards import ModelCard, SelectorCard, card_from_json, card_to_json
from core.models.load import load, read_model
from core.models.registry import list_models
from core.models.releases.lvvit import lvvit_geometry
from core.models.releases.plain import released_classes
from core.models.weights import save_checkpoint
from core.soft_tokens.decide import own_decision, top_share
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import FITTED, schedule_macs
from core.soft_tokens.stages import image_macs
from core.training.lvvit import LvvitStep
from core.training.objectives import Objective
from tests.lvvit import TINY, dense, images, literal, random_state, token_model
from tests.test_core_schedules import beyond_the_formula, counted
from tests.test_core_soft_token_files import random_state as selector_state

# Counts


def test_lvvit_s_costs_655_with_its_auxiliary_head_and_648_without() -> None:
    whole, plain = LVVIT["lvvit_s"], replace(LVVIT["lvvit_s"], aux_head=False)
    assert round(count_macs(whole).total / 1e9, 2) == 6.55
    assert round(count_macs(plain).total / 1e9, 2) == 6.48


@pytest.mark.parametrize("geometry", [TINY, replace(TINY, aux_head=False, qkv_bias=True, patch=4), LVVIT["lvvit_s"]])
def test_dense_count_is_torchs_to_the_last_multiply_add(geometry) -> None:
    model = lvvit.build(geometry).eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, geometry.img_size, geometry.img_size, device="meta"))
    assert counter.get_total_flops() == 2 * count_macs(geometry).total


def test_stem_and_heads_of_four_patches_are_worked_out_by_hand() -> None:
    geometry = LvvitGeometry(8, 4, 8, 1, 1, 24, 3, stem_channels=2)
    stem = 16 * (49 * 3 * 2) + 2 * 16 * (9 * 2 * 2) + 4 * (2 * 2 * 2) * 8  # 4 x 4 places, then 4 patches of 2 x 2
    assert stem_macs(geometry) == stem
    assert (aux_macs(geometry), aux_macs(geometry, 1), aux_macs(geometry, 0)) == (4 * 8 * 3, 8 * 3, 0)


@pytest.mark.parametrize(("name", "millions"), [("lvvit_s", 26.15), ("lvvit_m", 55.83)])
def test_parameters_are_those_published(name, millions) -> None:
    with torch.device("meta"):
        model = lvvit.build(LVVIT[name])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


def test_the_fitted_schedule_costs_43_and_what_torch_counts_for_it() -> None:
    known, geometry = FITTED["lvvit_s_4.3g"], LVVIT["lvvit_s"]
    found = schedule_macs(geometry, known.blocks, known.keep).total
    assert found / 1e9 == pytest.approx(4.3, abs=0.005)
    model = SoftTokenViT(lvvit.build(geometry), known.blocks, decide=top_share(known.keep, geometry.patches)).eval()
    seen = [(196, 196, True), (117 + 1, 117, True)]  # 0.593 x 196 = 116.2
    beyond = sum(beyond_the_formula(geometry, *one) for one in seen)
    assert counted(model, torch.zeros(3, 224, 224)) == found + beyond


@torch.no_grad()
def test_each_image_costs_what_torch_counts_for_it_alone() -> None:
    model, batch = token_model(), images(8)
    _, stages = model.run(batch)
    macs = image_macs(TINY, model.blocks, stages)
    assert len({count.total for count in macs}) > 3, "too few different counts: the test would show little"
    assert len({count.head for count in macs}) > 2
    for at, (image, count) in enumerate(zip(batch, macs, strict=True)):
        seen = [(int(s.seen[at]), int(s.patches[at]), bool(s.has_package[at])) for s in stages]
        assert counted(model, image) == count.total + sum(beyond_the_formula(TINY, *one) for one in seen)


# Files


def write(path: Path, stored: object) -> str:
    torch.save(stored, path)
    return str(path)


WRAPPINGS = {
    "bare.pth.tar": lambda state: state,
    "model.pth": lambda state: {"model": state},
    "timm.pth.tar": lambda state: {
        "epoch": 3,
        "arch": "lvvit_s",
        "state_dict": {f"module.{key}": value for key, value in state.items()},
    },
}


@pytest.mark.parametrize("name", WRAPPINGS)
@torch.no_grad()
def test_a_released_file_answers_as_its_formulas_say(name, tmp_path) -> None:
    state = random_state()
    loaded = load(ModelSpec(write(tmp_path / name, WRAPPINGS[name](state))))
    assert loaded.card.geometry == TINY
    assert (loaded.card.family, loaded.method) == ("lvvit", "dense")
    expected = literal(state, images(3), heads=2, residual=2.0)
    torch.testing.assert_close(loaded.model(images(3)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "geometry",
    [
        replace(TINY, img_size=24, aux_head=False, depth=2),
        replace(TINY, patch=4, stem_channels=3, qkv_bias=True, classes=2),
    ],
)
@torch.no_grad()
def test_shapes_tell_the_geometry(geometry, tmp_path) -> None:
    state = random_state(geometry)
    model, card = read_model(write(tmp_path / "file.pth", state))
    assert card.geometry == geometry
    photos = images(2, geometry)
    expected = literal(state, photos, geometry.heads, geometry.residual)
    torch.testing.assert_close(model.eval()(photos), expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", LVVIT)
def test_models_of_the_release_are_known_by_their_shapes(name) -> None:
    with torch.device("meta"):
        state = lvvit.build(LVVIT[name]).state_dict()
    assert lvvit_geometry(state, Path("file")) == LVVIT[name]


def test_photos_of_the_medium_and_the_small_one_are_cropped_as_in_the_release() -> None:
    assert [lvvit.normalisation(LVVIT[name]).crop_pct for name in ("lvvit_s", "lvvit_m")] == [0.9, 1.0]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s.pop("pos_embed"), "not the other weights of its release"),
        (lambda s: s.pop("blocks.1.norm1.bias"), "does not hold"),
        (lambda s: s.pop("aux_head.bias"), "does not hold"),
        (lambda s: s.update(pos_embed=torch.zeros(1, 16, 128)), "16 positions, which is no square grid"),
        (lambda s: s.update({"patch_embed.proj.weight": torch.zeros(128, 6, 4)}), "not the other weights"),
        (lambda s: s["aux_head.bias"].fill_(float("nan")), "no numbers"),
    ],
)
def test_a_spoilt_file_gets_one_sentence(spoil, sentence, tmp_path) -> None:
    state = random_state()
    spoil(state)
    with pytest.raises(InputError, match=sentence) as error:
        load(ModelSpec(write(tmp_path / "bad.pth.tar", state)))
    assert "\n" not in str(error.value)


def test_a_name_says_where_the_weights_are_to_be_had() -> None:
    entry = next(entry for entry in list_models() if entry.name == "lvvit_s")
    assert (entry.family, entry.available, entry.download_mb) == ("lvvit", False, None)
    assert "given as a file" in entry.note
    assert "6.55 GMACs, 6.48 without" in entry.note
    with pytest.raises(InputError, match=r"github\.com/zihangJiang/TokenLabeling/releases and give its path"):
        load(ModelSpec("lvvit_s"), download=True)
    assert load(ModelSpec("lvvit_s"), weights=False).dense_macs == count_macs(LVVIT["lvvit_s"]).total


@pytest.mark.parametrize(("lean", "left"), [(50.0, 16), (-50.0, 0)])
@torch.no_grad()
def test_a_file_of_it_with_token_selectors_is_read_too(lean, left, tmp_path) -> None:
    state = random_state()
    parts = selector_state(heads=2, channels=64, lean=(lean, lean, lean))
    state |= {key: value for key, value in parts.items() if key.startswith("score_predictor")}
    loaded = load(ModelSpec(write(tmp_path / "selectors.pth", {"model": state})))
    assert (loaded.card.family, loaded.card.geometry, loaded.model.blocks) == ("lvvit", TINY, (1, 2, 3))
    logits, stages = loaded.model.run(images(2))
    assert stages[-1].kept.sum(dim=1).tolist() == [left, left]
    assert logits.isfinite().all()
    if left:
        torch.testing.assert_close(logits, literal(state, images(2), 2, 2.0), atol=1e-4, rtol=1e-4)


# Pruning

DECISIONS = {"own": own_decision, "top": top_share((0.7, 0.5, 0.2), 16), "none": top_share((1.0, 1.0, 1.0), 16)}


@pytest.mark.parametrize("name", DECISIONS)
@torch.no_grad()
def test_removed_tokens_give_the_logits_of_masked_tokens(name) -> None:
    model, batch, decide = token_model(), images(8), DECISIONS[name]
    gathered, stages = model.run(batch, decide)
    masked, _, others = masked_forward(
        model.backbone, model.by_block(), batch, lambda stage, scores, alive: decide(stage, scores, alive > 0).float()
    )
    torch.testing.assert_close(gathered, masked, atol=1e-4, rtol=0)
    assert all(torch.equal(one.kept, other.kept) for one, other in zip(stages, others, strict=True))
    alone = torch.cat([model.run(image[None], decide, record=False)[0] for image in batch])
    torch.testing.assert_close(gathered, alone, atol=1e-4, rtol=0)
    if name == "none":
        torch.testing.assert_close(gathered, model.backbone(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("keep", [[7, 3, 16, 0, 1], [5, 5, 5, 5, 5], [0, 0, 0, 0, 0]])
@torch.no_grad()
def test_the_auxiliary_maximum_is_over_the_patches_that_are_alive(keep) -> None:
    model, batch = token_model((2,)), images(5)
    left = torch.tensor(keep)

    def decide(of):
        return lambda stage, scores, alive: (torch.arange(16) < of[:, None]) & alive

    together, _ = model.run(batch, decide(left))
    masked, _, _ = masked_forward(
        model.backbone, model.by_block(), batch, lambda *a: decide(left)(*a[:2], a[2] > 0).float()
    )
    last, backbone = [], model.backbone
    hook = backbone.blocks[-1].register_forward_hook(lambda module, args, out: last.append(out[0]))
    try:
        for at in range(5):
            alone, _ = model.run(batch[at : at + 1], decide(left[at : at + 1]))
            x = backbone.norm(last.pop())  # class token, patches, a package where any patch left
            assert len(x) == 1 + keep[at] + (keep[at] < 16)
            wanted = backbone.head(x[0])
            for channel in range(5 if keep[at] else 0):
                wanted[channel] += 0.5 * max(float(backbone.aux_head(patch)[channel]) for patch in x[1 : 1 + keep[at]])
            for found in (alone[0], together[at], masked[at]):
                torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    finally:
        hook.remove()


def test_gradients_reach_both_heads_the_stem_and_the_decisions_in_training() -> None:
    model = token_model().train()
    policy = [torch.zeros(2, 16).index_fill(1, torch.arange(6), 1.0).requires_grad_() for _ in range(3)]
    policy[2].data[1] = 0.0  # an image of which nothing is left
    logits, _, _ = masked_forward(model.backbone, model.by_block(), images(2), lambda stage, s, a: policy[stage])
    logits.square().sum().backward()
    assert (policy[0].grad[:, 6:].abs() > 0).all()
    backbone = model.backbone
    for weight in (backbone.head.weight, backbone.aux_head.weight, backbone.patch_embed.conv1.weight):
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0


def test_a_trace_adds_up_block_by_block(tmp_path) -> None:
    card = ModelCard("lvvit", TINY, released_classes(5), lvvit.normalisation(TINY))
    card = replace(card, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.2), True))
    save_checkpoint(tmp_path / "tokens.safetensors", token_model(), card)
    loaded = load(ModelSpec(str(tmp_path / "tokens.safetensors"), keep=(0.7, 0.5, 0.2)))
    assert loaded.card.geometry == TINY
    trace = trace_tokens(loaded, Image.effect_noise((50, 40), 90).convert("RGB"))
    assert trace.kept_counts == (12, 8, 4)
    blocks = sum(count.total for count in macs_per_block(TINY, trace))
    heads = TINY.width * TINY.classes * (1 + 4)  # of the class token, and of each patch alive
    assert blocks + stem_macs(TINY) + heads == trace.macs.total


@pytest.mark.parametrize(("stem", "opens"), [([], True), ([8, 16, 32], False)])
def test_a_card_that_also_says_what_a_plain_vit_may_have_opens_if_it_says_none(stem, opens) -> None:
    whole = json.loads(card_to_json(ModelCard("lvvit", TINY, released_classes(5), lvvit.normalisation(TINY))))
    whole["geometry"] |= {"stem": stem, "prefix_tokens": 1, "distilled": False, "timm": None}
    if opens:
        assert card_from_json(json.dumps(whole)).geometry == TINY
    else:
        with pytest.raises(InputError, match="an LV-ViT has a stem of its own"):
            card_from_json(json.dumps(whole))


# Training


def test_the_auxiliary_head_learns_the_label_of_its_photo_on_every_patch() -> None:
    model = dense().train()
    targets = torch.tensor([[0.7, 0.3, 0, 0, 0], [0, 0, 1.0, 0, 0]])
    loss, told = LvvitStep(model, Objective())(images(2), targets, 0.0)
    with torch.no_grad():
        tokens = model.forward_features(images(2))
        by_class = -(targets * model.head(tokens[:, 0]).log_softmax(-1)).sum(-1).mean()
        by_patch = -(targets[:, None] * model.aux_head(tokens[:, 1:]).log_softmax(-1)).sum(-1).mean()
    assert float(loss.detach()) == pytest.approx(float(by_class + 0.5 * by_patch), rel=1e-5)
    assert told["aux_loss"] == pytest.approx(float(by_patch), rel=1e-5)


@torch.no_grad()
def test_a_model_taken_over_keeps_both_heads_for_the_classes_that_it_knew() -> None:
    before = dense()
    model = lvvit.build(replace(TINY, classes=4)).eval()
    lvvit.take_over(model, before, [2, None, 0, 1])
    torch.testing.assert_close(model(images(2))[:, [2, 3, 0]], before(images(2))[:, :3])
