"""Joint models: token selectors in what single-path pruning left."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs, macs_per_block
from core.errors import InputError
from core.evaluation.evaluate import attention_runner
from core.inference.attribution import attribute
from core.inference.removal import compare_removal
from core.inference.trace import trace_tokens
from core.models.cards import CompactCard, SinglePathCard
from core.models.export import export_model
from core.models.load import load
from core.models.weights import save_checkpoint
from core.soft_tokens import one_image
from core.soft_tokens.decide import AttentionShare, above, own_decision, top_share
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.mixers import check_places, first_place, mix_patches, spread
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import fit_keep, schedule_macs
from core.soft_tokens.selector import selector_scores
from core.soft_tokens.stages import image_macs
from core.training.tokens import DenseTeacher
from tests.joint import MIXED, joint_card, joint_model, save_joint
from tests.tiny import CARD, TINY, draw_folder, images, single_path_model

MODELS = [MIXED, (1, 0.7), (2, 0.7), (4, 0.5), (5, 0.7), (0, 0.5)]
"""Among them: a 1x1 convolution before, between and behind selectors, nothing there, no attention at all."""
LOOP = ("--batch", "16", "--workers", "0", "--device", "cpu", "--precision", "no", "--warmup-epochs", "0")


def as_mask(decide):
    """A decision in the form that masked training takes."""
    return lambda stage, scores, alive: decide(stage, scores, alive > 0).float()


def decisions(model: SoftTokenViT) -> list:
    shares = [0.7**stage for stage in range(1, len(model.blocks) + 1)]
    return [own_decision, above(0.45), top_share(shares, TINY.patches)]


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize(("seed", "share"), MODELS)
@torch.no_grad()
def test_masked_gathered_and_single_runs_of_a_joint_model_agree(seed, share, passes) -> None:
    model, _ = joint_model(seed, share, passes=passes)
    batch = images(6)
    for decide in decisions(model):
        together, stages = model.run(batch, decide)
        masked, _, other = masked_forward(model.backbone, model.by_block(), batch, as_mask(decide))
        torch.testing.assert_close(together, masked, atol=1e-4, rtol=0)
        for one, two in zip(stages, other, strict=True):
            assert torch.equal(one.kept, two.kept)
            assert torch.equal(one.seen, two.seen)
        alone = torch.cat([model.run(image[None], decide)[0] for image in batch])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_the_models_tested_hold_every_mixer_behind_a_selector() -> None:
    behind, counts = set(), set()
    for seed, share in MODELS:
        model, made = joint_model(seed, share)
        behind |= set(made.mixers[model.blocks[0] :])
        counts |= set(model.run(images(6))[1][0].kept.sum(dim=1).tolist())
    assert behind == {"msa", "conv1x1", "skip"}
    assert len(counts) > 3, "the images keep the same counts: ragged batches would not be tested"


@pytest.mark.parametrize(("seed", "share"), MODELS)
@torch.no_grad()
def test_nothing_pruned_equals_the_compact_model(seed, share) -> None:
    model, _ = joint_model(seed, share)
    logits, stages = model.run(images(4), above(0.0))
    torch.testing.assert_close(logits, model.backbone(images(4)), atol=1e-5, rtol=0)
    assert not any(stage.has_package.any() for stage in stages)


@pytest.mark.parametrize("passes", [False, True])
@torch.no_grad()
def test_a_1x1_convolution_gives_a_patch_that_is_left_what_it_gave_it_on_the_grid(passes) -> None:
    conv = joint_model(*MIXED, passes=passes)[0].backbone.blocks[2].attn
    grid = torch.randn(1, 1 + TINY.patches, TINY.width)
    whole = conv(grid)  # torch's own convolution, over the grid
    left = [3, 7, 12]
    package = torch.randn(1, 1, TINY.width)
    tokens = torch.cat((grid[:, :1], grid[:, [1 + cell for cell in left]], package), dim=1)
    found = mix_patches(conv, tokens, slice(1, 4))
    torch.testing.assert_close(found[:, 1:4], whole[:, [1 + cell for cell in left]], atol=1e-5, rtol=0)
    torch.testing.assert_close(mix_patches(conv, tokens, torch.tensor([1, 2, 3])), found)
    for other in (0, 4):  # class token and package
        assert torch.equal(found[:, other], tokens[:, other] if passes else torch.zeros(1, TINY.width))


@pytest.mark.parametrize(("seed", "share"), MODELS)
@torch.no_grad()
def test_macs_of_an_image_are_those_of_torchs_counter(seed, share, monkeypatch) -> None:
    model, _ = joint_model(seed, share)
    said = {}

    def remembered(weights, x, context):  # the selectors are counted in tests of their own
        key = (id(weights), tuple(x.shape), float(x.sum()))
        if key not in said:
            said[key] = selector_scores(weights, x, context)
        return said[key]

    monkeypatch.setattr(one_image, "selector_scores", remembered)
    model.fold()
    for decide in decisions(model):
        for image in images(3).split(1):
            _, stages = model.run(image, decide)
            with FlopCounterMode(display=False) as counter:
                model.run(image, decide, record=False)
            (macs,) = image_macs(TINY, model.blocks, stages, model.layers)
            folded = sum(int(stage.patches[0]) * TINY.width for stage in stages if stage.has_package[0])
            assert macs.total - macs.selectors + folded == counter.get_total_flops() // 2


def test_a_1x1_convolution_behind_a_selector_learns() -> None:
    model = joint_model(*MIXED)[0].train()
    logits, _, _ = masked_forward(model.backbone, model.by_block(), images(4), as_mask(own_decision))
    logits.square().sum().backward()
    conv = model.backbone.blocks[2].attn
    for weight in (conv.reduce.weight, conv.expand.weight):
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0


def test_the_count_of_a_joint_block_is_worked_out_by_hand() -> None:
    mixers, hidden = ("conv3x3", "conv1x1", "skip", "msa"), (64, 10, 20, 30)
    macs = count_macs(
        TINY,
        mixers=mixers,
        ffn_hidden=hidden,
        tokens=(17, 10, 10, 6),
        patches=(16, 8, 8, 3),
        selectors=((16, 16), (9, 8)),
    )
    assert macs.convolution == 16 * 32 * 16 * 9 + 16 * 16 * 32 + 8 * 32 * 16 + 8 * 16 * 32
    assert macs.attention == 4 * 6 * 32 * 32 + 2 * 6 * 6 * 32
    assert macs.ffn == 2 * 32 * (17 * 64 + 10 * 10 + 10 * 20 + 6 * 30)


# Places


@pytest.mark.parametrize(
    ("mixers", "first"),
    [
        (("msa",) * 4, 1),
        (("conv3x3", "msa", "msa", "msa"), 1),
        (("msa", "conv3x3", "conv1x1", "skip"), 2),
        (("msa", "conv3x3", "conv1x1", "conv3x3"), 4),
    ],
)
def test_the_first_place_is_behind_the_last_3x3(mixers, first) -> None:
    assert first_place(mixers) == first


def test_a_selector_before_a_3x3_is_refused_with_the_places_that_are_possible() -> None:
    backbone = joint_model(*MIXED)[0].backbone  # msa, 3x3, 1x1, msa
    with pytest.raises(InputError, match="3x3 convolution, which needs the whole grid: before blocks 2 to 3"):
        SoftTokenViT(backbone, (1, 2), heads=TINY.heads)
    with pytest.raises(InputError, match="Block 3, the last, is a 3x3"):
        check_places((1,), ("msa", "conv3x3", "conv1x1", "conv3x3"))


def test_usual_places_are_the_releases_in_twelve_attentions_and_behind_a_3x3_elsewhere() -> None:
    assert spread(("msa",) * 12, 3) == (3, 6, 9)
    assert spread(("msa",) * 6 + ("conv3x3",) + ("msa",) * 5, 2) == (7, 9)
    with pytest.raises(InputError, match=r"room for 1 selectors .* not for 2"):
        spread(("msa",) * 10 + ("conv3x3", "msa"), 2)


# Files


@torch.no_grad()
def test_a_joint_model_reloads_equal_and_says_what_it_is(tmp_path) -> None:
    model, made = joint_model(*MIXED, passes=True)
    save_checkpoint(tmp_path / "joint.safetensors", model, joint_card(model, made, passes=True), half=False)
    found = load(ModelSpec(str(tmp_path / "joint.safetensors")))
    assert found.method == "joint"
    assert (found.architecture.mixers, found.architecture.ffn_hidden) == (made.mixers, made.ffn_hidden)
    assert torch.equal(found.model(images(5)), model(images(5)))
    for budget in (made.macs, made.asked_macs, found.dense_macs):
        assert torch.equal(load(replace(found.spec, budget=float(budget))).model(images(2)), model(images(2)))
    with pytest.raises(InputError, match=rf"one budget, {made.asked_macs / 1e9:.4g} GMACs \(90% of dense\)"):
        load(replace(found.spec, budget=made.macs - 1.0))
    fewer = load(replace(found.spec, budget=made.asked_macs, keep=(0.5, 0.25)))
    assert [int(stage.kept.sum()) for stage in fewer.model.run(images(1))[1]] == [8, 4]


@torch.no_grad()
def test_a_trace_counts_each_block_and_its_sum_is_the_images(tmp_path) -> None:
    found = load(ModelSpec(str(save_joint(tmp_path / "joint.safetensors")), keep=(0.5, 0.25)))
    trace = trace_tokens(found, Image.new("RGB", (40, 30), "red"))
    blocks = macs_per_block(TINY, trace, found.model.layers)
    assert sum(count.total for count in blocks) + trace.macs.embedding + trace.macs.head == trace.macs.total
    assert trace.macs.convolution == sum(count.convolution for count in blocks) > 0
    assert trace.macs == schedule_macs(TINY, found.model.blocks, (0.5, 0.25), found.model.layers)
    assert trace.tokens == (17, 17, 1 + 8 + 1, 1 + 4 + 2)
    assert trace.dense_macs == count_macs(TINY).total


def test_a_schedule_is_fitted_to_what_the_joint_model_costs() -> None:
    model, made = joint_model(*MIXED)
    asked = 0.9 * made.macs
    keep = fit_keep(TINY, model.blocks, asked, model.layers)
    cost = schedule_macs(TINY, model.blocks, keep, model.layers).total
    assert 0.97 * asked < cost <= asked


# What looks at it


@torch.no_grad()
def test_class_attention_is_that_of_the_nearest_attention_ahead() -> None:
    model, _ = joint_model(*MIXED)  # selectors before block 2, a 1x1, and block 3, an attention
    prefix = 1
    x = model.backbone.blocks[1](model.backbone.blocks[0](model.backbone.norm_pre(tokens_of(model, images(1)))))
    attn = model.backbone.blocks[3].attn
    q, k, _ = attn.qkv(model.backbone.blocks[3].norm1(x)).unflatten(2, (3, TINY.heads, -1)).permute(2, 0, 3, 1, 4)
    looked = functional.softmax(q[:, :, :1] @ k.mT * attn.scale, dim=-1).mean(dim=1)[0, 0, prefix:]
    _, stages = model.run(images(1), AttentionShare((0.5, 0.25), TINY.patches))
    assert set(stages[0].kept[0].nonzero()[:, 0].tolist()) == set(looked.topk(8).indices.tolist())
    _, together = model.run(images(3), AttentionShare((0.5, 0.25), TINY.patches))
    assert torch.equal(together[0].kept[0], stages[0].kept[0])


def tokens_of(model, batch):
    return model.backbone._pos_embed(model.backbone.patch_embed(batch))


def test_a_model_without_any_attention_has_no_class_attention_to_choose_by() -> None:
    model, made = joint_model(0, 0.5)
    assert "msa" not in made.mixers
    for batch in (images(1), images(2)):
        with pytest.raises(InputError, match="No block of this model is an attention"):
            attention_runner(model, TINY)(batch)
    with pytest.raises(InputError, match="nothing to learn from"):
        DenseTeacher(model.backbone, model.blocks)


def test_ranking_targets_come_from_the_blocks_behind_that_still_are_attentions() -> None:
    model, _ = joint_model(*MIXED)
    assert DenseTeacher(model.backbone, (2, 3)).behind == [[3], [3]]
    dense = joint_model(2, 0.9)[0].backbone  # msa, skip, msa, msa
    _, _, behind = DenseTeacher(dense, (1, 2))(images(2))
    assert [tuple(one.shape) for one in behind] == [(2, 16), (2, 16)]
    late = copy.deepcopy(joint_model(5, 0.7)[0].backbone)  # msa, msa, skip, skip
    with pytest.raises(InputError, match=r"No block from 2 on is an attention .* at 1 or before"):
        DenseTeacher(late, (1, 2))


def test_a_joint_model_is_attributed_and_compared_masked_against_removed(tmp_path) -> None:
    found = load(ModelSpec(str(save_joint(tmp_path / "joint.safetensors"))))
    photo = Image.new("RGB", (32, 32), (200, 30, 60))
    rolled = attribute(found, photo, 0, "rollout")
    assert rolled.passed_over == (1, 2)
    assert attribute(found, photo, 1, "occlusion").values.shape == TINY.grid
    assert attribute(found, photo, 1, "gradients").delta is not None
    same = compare_removal(found, images(1), own_decision, repeats=4)
    assert same.same_decisions
    assert same.logit_gap < 1e-4
    assert same.dense_macs == found.architecture.macs
    assert same.removed_macs < same.masked_macs


def test_a_joint_model_is_exported_in_our_format_and_onnx_is_refused(tmp_path) -> None:
    found = load(ModelSpec(str(save_joint(tmp_path / "joint.safetensors"))))
    (one,) = export_model(found, tmp_path, ["again.safetensors"], images(2))
    assert one.form == "joint"
    assert load(ModelSpec(str(one.path))).method == "joint"
    with pytest.raises(InputError, match="cannot be written as a graph"):
        export_model(found, tmp_path, ["again.onnx"], images(2))


# The command line


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Photos, a searched model and a compact one."""
    root = tmp_path_factory.mktemp("joint")
    draw_folder(root / "data")
    searched = single_path_model(MIXED[0])
    card = replace(CARD, single_path=SinglePathCard(0.01, fit_to_predict=True))
    save_checkpoint(root / "searched.safetensors", searched, card)
    for name, kind in (("compact", MIXED), ("late", (5, 0.7))):
        model, made = joint_model(*kind)
        card = replace(CARD, compact=CompactCard(made.mixers, made.ffn_hidden, made.asked_macs))
        save_checkpoint(root / f"{name}.safetensors", model.backbone, card)
    save_joint(root / "joint.safetensors")
    return root


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.mark.parametrize("start", [("searched", "--budget", "90%"), ("compact",)])
def test_finetune_puts_selectors_into_a_single_path_model(start, work, capsys) -> None:
    name, *budget = start
    out = work / f"from_{name}"
    asked = ["--targets", "0.6,0.35", "--teacher", work / "searched.safetensors", "--epochs", 1, "--out", out]
    where = ["--model", work / f"{name}.safetensors", "--data", work / "data"]
    assert run("finetune", *where, *budget, *asked, *LOOP) == 0
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"trained", "gain_over_random", "gain_interval", "attention_top1", "val_kept", "val_macs"} <= set(line)
    found = load(ModelSpec(str(out / "model.safetensors")))
    assert found.method == "joint"
    assert found.card.selectors.blocks == (2, 3)
    assert found.card.selectors.trained == line["trained"]
    assert found.architecture.macs <= 0.9 * found.dense_macs
    assert line["val_macs"] < found.architecture.macs / found.dense_macs + 0.2
    capsys.readouterr()
    assert run("evaluate", "--model", out / "model.safetensors", "--data", work / "data", "--workers", 0, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_macs"] / told["dense_macs"] == pytest.approx(line["val_macs"], rel=0.02)


def test_predict_describe_and_evaluate_take_a_budget_and_keep_ratios_of_a_joint_model(work, capsys) -> None:
    photo, name = next((work / "data" / "val" / "red").iterdir()), work / "joint.safetensors"
    settings = ["--model", name, "--keep", "0.5,0.25", "--budget", "90%", "--json"]
    assert run("predict", photo, *settings) == 0
    (said,) = json.loads(capsys.readouterr().out)["images"]
    assert said["kept"] == [8, 4]
    assert run("describe", *settings) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mixers"] == ["msa", "conv3x3", "conv1x1", "msa"]
    assert told["macs"] == said["macs"] < told["dense_macs"]
    assert told["selectors"] == [{"block": 2, "keep": 0.5}, {"block": 3, "keep": 0.25}]
    assert run("evaluate", *settings, "--data", work / "data", "--workers", 0) == 0
    assert json.loads(capsys.readouterr().out)["mean_macs"] == said["macs"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("finetune", "searched", "--targets", "0.6,0.3"), "give --budget, such as 60%"),
        (("finetune", "searched", "--targets", "0.6,0.3", "--budget", "5%"), "cannot be reached"),
        (("finetune", "compact"), "give --targets"),
        (("finetune", "compact", "--targets", "0.6,0.3", "--budget", "30%"), "is compact with"),
        (("finetune", "compact", "--targets", "5ms"), "no --targets in ms"),
        (("finetune", "compact", "--targets", "0.6,0.3,0.2"), "room for 2 selectors"),
        (("finetune", "late", "--targets", "0.6", "--blocks", "3"), "at 1 or before"),
        (("finetune", "compact", "--targets", "0.6", "--blocks", "1"), "before blocks 2 to 3"),
        (("finetune", "joint", "--targets", "0.6,0.3"), "has token selectors already"),
        (("evaluate", "joint", "--budget", "50%"), "was made for one budget"),
    ],
)
def test_wrong_input_gets_one_line(arguments, sentence, work, tmp_path, capsys) -> None:
    command, name, *rest = arguments
    out = ["--out", tmp_path / "out", *LOOP] if command == "finetune" else []
    assert run(command, "--model", work / f"{name}.safetensors", "--data", work / "data", *out, *rest) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert sentence in error[-1]
    assert not (tmp_path / "out").exists(), "something was written"
