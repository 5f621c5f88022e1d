"""Swin under single-path pruning: timm's dense forward, torch's counter, formulas position by position."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.config import ModelSpec
from core.costs.macs import block_prices, count_macs
from core.costs.swin import SWIN as KNOWN
from core.errors import InputError
from core.families import swin
from core.families.families import names
from core.methods import SINGLE_PATH, SOFT_TOKENS, check_takes
from core.models.cards import SinglePathCard
from core.models.load import load
from core.models.weights import save_checkpoint
from core.single_path.calibrate import calibrate, use_budget
from core.single_path.compact import compact, derived_gating
from core.single_path.derive import budget_range, derive, gates_of, settled
from core.single_path.history import add_snapshot, read_history
from core.single_path.model import SinglePathViT, gated_mixer
from core.single_path.search import expected_macs
from core.single_path.searched import GateHistory, Gates
from tests.tiny_swin import SWIN, SWIN_CARD, images, swin_path_model

ORDER = ["skip", "conv1x1", "conv3x3", "msa"]


def all_open(model: SinglePathViT) -> SinglePathViT:
    with torch.no_grad():
        for path in model.paths:
            path.mixer_logits.fill_(1.0)
            path.ffn_logits.fill_(1.0)
    return model


@torch.no_grad()
def test_nothing_pruned_is_timms_dense_forward_over_all_stages_and_shifts() -> None:
    model = all_open(swin_path_model())
    assert any(any(block.shift_size) for block in swin.blocks_of(model.backbone))
    dense = model.backbone(images(2))
    torch.testing.assert_close(model(images(2)), dense, atol=1e-5, rtol=0)
    plain = compact(model, settled(gates_of(model, SWIN)))
    torch.testing.assert_close(plain(images(2)), dense, atol=1e-5, rtol=0)


@torch.no_grad()
def test_timms_own_swin_at_another_size_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    backbone = timm.models.SwinTransformer(
        img_size=56, window_size=7, embed_dim=24, depths=(1, 2), num_heads=(3, 6), num_classes=5
    ).eval()
    geometry = swin.geometry_of(swin.check_supported(backbone, "it"))
    assert (geometry.depths, geometry.heads, geometry.window, geometry.classes) == ((1, 2), (3, 6), 7, 5)
    model, photo = all_open(SinglePathViT(backbone, 100.0).eval()), images(2, size=56)
    torch.testing.assert_close(model(photo), backbone(photo), atol=1e-5, rtol=0)
    again = swin.build(geometry).eval()
    again.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(again(photo), backbone(photo))


@torch.no_grad()
def test_a_convolution_is_over_the_whole_map_of_its_stage_and_not_shifted() -> None:
    model = swin_path_model()
    block, path, view = swin.blocks_of(model.backbone)[1], model.paths[1], model.views[1]
    assert any(block.shift_size), "this block's attention sees shifted windows"
    x = torch.randn(1, 8, 8, 16)
    attn, p = block.attn, (path.head_logits / 100).softmax(dim=0)  # (H, 9)
    hidden = torch.zeros(8, 8, 8)
    for row in range(8):
        for column in range(8):
            for k in range(9):
                r, c = row + k // 3 - 1, column + k % 3 - 1
                for h in range(2):
                    rows = slice(32 + 8 * h, 32 + 8 * (h + 1))
                    inside = 0 <= r < 8 and 0 <= c < 8
                    seen = attn.qkv.weight[rows] @ x[0, r, c] if inside else 0
                    hidden[row, column] += p[h, k] * (seen + attn.qkv.bias[rows])
    norm = path.bn_3x3
    hidden = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    out = sum(p[h, k] * attn.proj.weight[:, 8 * h : 8 * (h + 1)] for k in range(9) for h in range(2))  # (D, d)
    expected = hidden.relu() @ out.T + attn.proj.bias

    got = gated_mixer(block, path, x, torch.tensor([1.0, 1.0, 0.0]), 100.0, view)
    torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("in_windows", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, None])
@torch.no_grad()
def test_search_form_derived_form_and_compact_form_agree(share, in_windows) -> None:
    model = swin_path_model(3, in_windows=in_windows)
    gates = gates_of(model, SWIN)
    chosen = settled(gates) if share is None else derive(gates, share * count_macs(SWIN).total)
    assert share != 0.5 or len(set(chosen.mixers)) > 2, chosen.mixers
    searched = model(images(3), derived_gating(chosen, torch.device("cpu")))
    if share is None:
        torch.testing.assert_close(model(images(3)), searched)
    plain = compact(model, chosen)
    assert (plain(images(3)) - searched).abs().max() < 1e-4
    assert not any("logits" in name for name, _ in plain.named_parameters())


@torch.no_grad()
def test_windows_and_the_whole_map_are_told_apart() -> None:
    wide, narrow = (swin_path_model(3, in_windows=in_windows) for in_windows in (False, True))
    for model in (wide, narrow):
        for path in model.paths:
            path.mixer_logits.copy_(torch.tensor([1.0, 1.0, -1.0]))
    assert (wide(images(2)) - narrow(images(2))).abs().max() > 1e-2


def test_derived_counts_are_those_of_torchs_counter() -> None:
    model = swin_path_model(5)
    for share in (0.35, 0.6, 0.85):
        chosen = derive(gates_of(model, SWIN), share * count_macs(SWIN).total)
        plain, counter = compact(model, chosen), FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            plain(images(1))
        assert chosen.macs == counter.get_total_flops() / 2


def test_any_budget_is_met_short_by_less_than_one_gate_and_within_every_larger_one() -> None:
    gates = gates_of(swin_path_model(7), SWIN)
    least, dense = budget_range(gates)
    before = None
    for budget in np.linspace(least, dense, 40):
        found = derive(gates, budget)
        assert found.macs <= budget
        assert found.step_macs is None or budget - found.macs < found.step_macs
        assert [len(kept) for kept in found.ffn_kept] == list(SWIN.ffn_widths)
        if before is not None:
            inside = zip(before.mixers, found.mixers, strict=True)
            assert all(ORDER.index(small) <= ORDER.index(large) for small, large in inside)
            assert all((large >= small).all() for small, large in zip(before.ffn_kept, found.ffn_kept, strict=True))
        before = found
    assert before.macs == dense


def test_deriving_takes_as_many_steps_for_few_hidden_units_as_for_many_and_little_memory() -> None:
    """A slider waits for it (`bench --training` measures how long): a few operations on whole arrays, none per unit."""
    lines, bytes_per_gate = [], []
    for ratio in (1, 4, 8):
        base = replace(KNOWN["swin_base_patch4_window7_224"], ffn_ratio=ratio)
        rng = np.random.default_rng(0)
        gates = Gates(base, rng.normal(size=(base.depth, 3)), tuple(rng.normal(size=w) for w in base.ffn_widths))
        budget = 0.6 * count_macs(base).total
        lines.append(lines_run(lambda gates=gates, budget=budget: derive(replace(gates), budget)))
        tracemalloc.start()
        derive(replace(gates), budget)
        bytes_per_gate.append(tracemalloc.get_traced_memory()[1] / (3 * base.depth + sum(base.ffn_widths)))
        tracemalloc.stop()
    assert lines[0] == lines[1] == lines[2] < 200 * base.depth
    assert max(bytes_per_gate) < 100


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that run in it, each time that they do; none of what garbage of other tests has to say."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def test_expected_macs_at_certain_gates_are_the_counted_ones() -> None:
    model = swin_path_model()
    with torch.no_grad():
        for index, path in enumerate(model.paths):
            path.mixer_logits.copy_(torch.where(torch.arange(3) < index % 4, 50.0, -50.0))
            path.ffn_logits.copy_(torch.where(torch.arange(len(path.ffn_logits)) < 3 * index, 50.0, -50.0))
    chosen = settled(gates_of(model, SWIN))
    assert chosen.mixers == ("skip", "conv1x1", "conv3x3", "msa", "skip", "conv1x1")
    assert float(expected_macs(model, SWIN).detach()) == pytest.approx(chosen.macs, rel=1e-6)


def test_prices_of_a_block_are_worked_out_by_hand() -> None:
    third = block_prices(SWIN)[2]  # second stage: 4 x 4 patches, width 32, 4 heads of 8 channels, windows of 4 patches
    assert third.mixers == {
        "msa": 4 * 16 * 32**2 + 2 * 16 * 4 * 32,
        "conv3x3": 10 * 16 * 32 * 8,
        "conv1x1": 2 * 16 * 32 * 8,
        "skip": 0,
    }
    assert third.unit == 2 * 16 * 32


def test_every_kind_of_gate_learns_in_training() -> None:
    model = SinglePathViT(swin.build(SWIN), 100.0).train()
    torch.manual_seed(0)
    for _ in range(8):
        model(images(2)).square().sum().backward()
    assert all((path.mixer_logits.grad != 0).all() for path in model.paths)
    assert all((path.ffn_logits.grad != 0).any() for path in model.paths)


def test_gates_of_stages_of_other_widths_keep_their_history(tmp_path) -> None:
    gates = gates_of(swin_path_model(), SWIN)
    path = tmp_path / "model-gates.safetensors"
    for epoch in (0.0, 0.5, 1.0):
        add_snapshot(path, epoch, gates)
    found = read_history(path, SWIN)
    assert isinstance(found, GateHistory)
    assert [units.shape for units in found.ffn_logits] == [(3, width) for width in (32, 32, 64, 64, 128, 128)]
    for saved, read in zip(gates.ffn_logits, found.at(2).ffn_logits, strict=True):
        np.testing.assert_allclose(read, saved, atol=2e-3)
    with pytest.raises(ValueError, match="gates"):
        Gates(SWIN, gates.mixer_logits, gates.ffn_logits[::-1])


@torch.no_grad()
def test_budgets_are_calibrated_where_heads_differ_in_width() -> None:
    trained = swin_path_model(3)
    model = SinglePathViT(trained.backbone, 100.0, (0.4, 1.0)).eval()
    model.paths.load_state_dict(trained.paths.state_dict())
    assert model.calibrated.shape == (2, 6, 2, 2, 8)
    calibrate(model, SWIN, [images(8)])
    chosen = derive(gates_of(model, SWIN), 0.4 * count_macs(SWIN).total)
    use_budget(model, 0)
    of_budget = model(images(8), derived_gating(chosen, torch.device("cpu")))
    assert (compact(model, chosen)(images(8)) - of_budget).abs().max() < 1e-4
    at = chosen.mixers.index("conv1x1")  # its statistics are those of what it sees at this budget
    seen = []
    handle = model.paths[at].bn_1x1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(images(8), derived_gating(chosen, torch.device("cpu")))
    handle.remove()
    torch.testing.assert_close(model.paths[at].bn_1x1.running_mean, seen[0].mean((0, 2, 3)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("in_windows", [False, True])
@torch.no_grad()
def test_a_saved_search_reloads_and_takes_any_budget(in_windows, tmp_path) -> None:
    model, path = swin_path_model(3, in_windows=in_windows), tmp_path / "model.safetensors"
    card = replace(SWIN_CARD, single_path=SinglePathCard(100.0, fit_to_predict=True, in_windows=in_windows))
    save_checkpoint(path, model, card, half=False)
    loaded = load(ModelSpec(str(path), budget=0.5 * count_macs(SWIN).total))
    expected = model(images(2), derived_gating(loaded.architecture, torch.device("cpu")))
    assert (loaded.model(images(2)) - expected).abs().max() < 1e-4
    assert loaded.card.geometry == SWIN


def test_what_a_method_takes_is_said_by_name() -> None:
    with pytest.raises(InputError, match="Single-path pruning cannot take pit models") as error:
        check_takes(SINGLE_PATH, "pit")
    assert "\n" not in str(error.value)
    check_takes(SINGLE_PATH, "swin")
    check_takes(SOFT_TOKENS, "swin")
    assert "swin_*" in names("singlepath")
    assert "swin_*" in names("tokens")
    assert "pit_*" not in names("singlepath")


@pytest.mark.parametrize("name", ["swin_s3_tiny_224", "swinv2_tiny_window8_256"])
def test_swins_of_other_kinds_get_one_sentence(name) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be pruned here; choose") as error:
        load(ModelSpec(name), weights=False)
    assert "swin_* with windows of one size" in str(error.value)


def test_a_size_at_which_windows_are_not_whole_gets_one_sentence() -> None:
    with pytest.raises(InputError, match="choose a multiple of 224"):
        swin.geometry_of(swin.from_timm("swin_tiny_patch4_window7_224", classes=3, img_size=256))
