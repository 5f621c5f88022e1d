"""Single-path pruning: gates, the convolutions inside the attention, deriving by budget, and the compact form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Attention

from core.config import ModelSpec
from core.costs.deit import DeitGeometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.families.views import FlatView, to_map, to_tokens
from core.models.cards import SinglePathCard
from core.models.load import load
from core.models.weights import save_checkpoint
from core.single_path import mixer as mix
from core.single_path.calibrate import calibrate, norms_of, use_budget
from core.single_path.compact import compact, derived_gating
from core.single_path.derive import budget_range, derive, gates_of, settled
from core.single_path.gates import is_open, nest, sample_open, stop_below
from core.single_path.model import SinglePathViT, gated_mixer
from core.single_path.search import expected_macs
from core.single_path.searched import Gates
from tests.tiny import CARD, TINY, backbone, images, single_path_model

COST = {"skip": 0, "conv1x1": 1, "conv3x3": 2, "msa": 3}


def random_gates(seed: int, ties: bool = False) -> Gates:
    rng = np.random.default_rng(seed)
    mixer, ffn = rng.normal(size=(TINY.depth, 3)), rng.normal(size=(TINY.depth, TINY.ffn_hidden))
    return Gates(TINY, np.round(mixer) if ties else mixer, np.round(ffn) if ties else ffn)


# Gates


@given(theta=st.floats(-3, 3))
@settings(max_examples=10)
def test_a_gate_opens_as_often_as_its_probability_says(theta) -> None:
    draws = sample_open(torch.full((20000,), theta), torch.Generator().manual_seed(1))
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    assert float(draws.mean()) == pytest.approx(float(torch.tensor(theta).sigmoid()), abs=0.015)


def test_nested_gates_mean_what_their_probabilities_multiply_to() -> None:
    theta = torch.tensor([1.0, 0.0, -0.5])
    draws = nest(sample_open(theta.expand(20000, 3), torch.Generator().manual_seed(0)))
    assert (draws[:, 1:] <= draws[:, :-1]).all(), "an inner gate is closed under an open outer one"
    torch.testing.assert_close(draws.mean(0), nest(theta.sigmoid()), atol=0.015, rtol=0)


def test_a_gate_is_open_at_evaluation_above_one_half() -> None:
    assert is_open(torch.tensor([-0.1, 0.0, 0.1])).tolist() == [0.0, 0.0, 1.0]


def test_gradient_stops_below_an_open_gate_and_the_draw_stays_as_it_was() -> None:
    g = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    stopped = stop_below(g)
    stopped.sum().backward()
    assert stopped.tolist() == [1.0, 1.0, 0.0]
    assert g.grad.tolist() == [0.0, 1.0, 1.0]  # the 3x3 is open: the 1x1 below it learns nothing


def test_every_kind_of_gate_learns_in_training() -> None:
    model = SinglePathViT(backbone()).train()
    torch.manual_seed(0)
    for _ in range(8):
        model(images(2)).square().sum().backward()
    assert all((path.mixer_logits.grad != 0).all() for path in model.paths)
    assert all((path.ffn_logits.grad != 0).any() for path in model.paths)


# Mixer


@given(heads=st.integers(1, 6), d=st.integers(1, 7), logit=st.floats(-3, 3), alpha=st.sampled_from([0.01, 1.0, 100.0]))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_uniform_mixing_makes_each_offset_the_mean_of_the_heads(heads, d, logit, alpha) -> None:
    dim = heads * d
    attn = Attention(dim, num_heads=heads, qkv_bias=True)
    kernels = mix.read_kernels(attn, mix.head_mixing(torch.full((heads, 9), logit), alpha))
    value, bias = attn.qkv.weight[2 * dim :].reshape(heads, d, dim), attn.qkv.bias[2 * dim :].reshape(heads, d)
    project = attn.proj.weight.reshape(dim, heads, d)
    for offset in range(9):
        torch.testing.assert_close(kernels.weight[offset], value.mean(dim=0))
        torch.testing.assert_close(kernels.bias[offset], bias.mean(dim=0))
        torch.testing.assert_close(kernels.out[offset], project.mean(dim=1))


@torch.no_grad()
def test_conv3x3_equals_its_formula_evaluated_offset_by_offset() -> None:
    model = single_path_model()
    attn, path = model.backbone.blocks[1].attn, model.paths[1]
    p = (path.head_logits / model.alpha).softmax(dim=0)  # (H, 9)
    x = torch.randn(1, 4, 4, 32)  # rows, columns, channels
    hidden = torch.zeros(4, 4, 16)
    for row in range(4):
        for column in range(4):
            for k in range(9):
                r, c = row + k // 3 - 1, column + k % 3 - 1
                for h in range(2):
                    w = attn.qkv.weight[64 + 16 * h : 64 + 16 * (h + 1)]
                    b = attn.qkv.bias[64 + 16 * h : 64 + 16 * (h + 1)]
                    inside = 0 <= r < 4 and 0 <= c < 4
                    hidden[row, column] += p[h, k] * ((w @ x[0, r, c] if inside else 0) + b)
    norm = path.bn_3x3
    hidden = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    out = sum(p[h, k] * attn.proj.weight[:, 16 * h : 16 * (h + 1)] for k in range(9) for h in range(2))  # (D, d)
    expected = hidden.relu() @ out.T + attn.proj.bias
    got = mix.conv3x3(x.permute(0, 3, 1, 2), mix.read_kernels(attn, p), norm, attn.proj.bias)
    torch.testing.assert_close(got[0].permute(1, 2, 0), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("open_gates", [0, 1, 2, 3])
def test_the_gated_mixer_is_the_open_candidate_alone(open_gates) -> None:
    model = single_path_model()
    block, path, x = model.backbone.blocks[0], model.paths[0], torch.randn(2, 17, 32)
    g = (torch.arange(3) < open_gates).float()
    got = gated_mixer(block, path, x, g, model.alpha, FlatView((4, 4)))
    kernels = mix.read_kernels(block.attn, mix.head_mixing(path.head_logits, model.alpha))
    maps = to_map(x[:, 1:], (4, 4))
    expected = [
        torch.zeros_like(x),
        to_tokens(mix.conv1x1(maps, kernels, path.bn_1x1, block.attn.proj.bias), torch.zeros(2, 1, 32)),
        to_tokens(mix.conv3x3(maps, kernels, path.bn_3x3, block.attn.proj.bias), torch.zeros(2, 1, 32)),
        block.attn(x),
    ][open_gates]
    torch.testing.assert_close(got, expected)
    if open_gates < 3:
        assert (got[:, 0] == 0).all(), "a convolution adds nothing to the class token"


@pytest.mark.parametrize("draw", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_gates_learn_what_the_whole_formula_says_whatever_was_drawn(draw) -> None:
    model = single_path_model()
    block, path, x = model.backbone.blocks[0], model.paths[0], torch.randn(2, 17, 32)

    def gradient(mixer) -> torch.Tensor:
        z = torch.tensor(draw, dtype=torch.float32, requires_grad=True)
        mixer(stop_below(nest(z))).square().sum().backward()
        return z.grad

    def whole(g: torch.Tensor) -> torch.Tensor:
        kernels = mix.read_kernels(block.attn, mix.head_mixing(path.head_logits, model.alpha))
        maps = to_map(x[:, 1:], (4, 4))
        wide = to_tokens(mix.conv3x3(maps, kernels, path.bn_3x3, block.attn.proj.bias), torch.zeros(2, 1, 32))
        narrow = to_tokens(mix.conv1x1(maps, kernels, path.bn_1x1, block.attn.proj.bias), torch.zeros(2, 1, 32))
        shift = torch.ones_like(x)  # a loss that is not flat where everything is closed
        return shift + g[2] * block.attn(x) + g[1] * (1 - g[2]) * wide + g[0] * (1 - g[1]) * narrow

    fast = gradient(lambda g: torch.ones_like(x) + gated_mixer(block, path, x, g, model.alpha, FlatView((4, 4))))
    torch.testing.assert_close(fast, gradient(whole), atol=1e-3, rtol=1e-4)


def test_all_gates_open_equals_timms_dense_forward() -> None:
    model = SinglePathViT(backbone()).eval()
    torch.testing.assert_close(model(images(3)), model.backbone(images(3)), atol=1e-6, rtol=0)


# Search


def test_expected_macs_equal_the_count_when_gates_are_certain() -> None:
    model = SinglePathViT(backbone())
    with torch.no_grad():
        for index, path in enumerate(model.paths):
            path.mixer_logits.copy_(torch.where(torch.arange(3) < index, 50.0, -50.0))
            path.ffn_logits.copy_(torch.where(torch.arange(64) < 10 * index, 50.0, -50.0))
    exact = settled(gates_of(model, TINY))
    assert exact.mixers == ("skip", "conv1x1", "conv3x3", "msa")
    assert exact.ffn_hidden == (0, 10, 20, 30)
    assert float(expected_macs(model, TINY)) == pytest.approx(exact.macs, rel=1e-5)


def test_expected_macs_equal_the_mean_of_sampled_counts() -> None:
    model = single_path_model()
    torch.manual_seed(0)
    counts = []
    for _ in range(400):
        gating = model.draw()
        mixers = [("skip", "conv1x1", "conv3x3", "msa")[int(g.sum())] for g in gating.mixer]
        counts.append(count_macs(TINY, mixers=mixers, ffn_hidden=[int(u.sum()) for u in gating.ffn]).total)
    spread = np.std(counts) / len(counts) ** 0.5
    assert float(expected_macs(model, TINY)) == pytest.approx(np.mean(counts), abs=4 * spread)


# Derive


@given(seed=st.integers(0, 10**6), share=st.floats(0.25, 1.1), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_derivation_never_exceeds_its_budget_and_misses_it_by_less_than_one_step(seed, share, ties) -> None:
    gates = random_gates(seed, ties)
    budget = max(budget_range(gates)[0], share * budget_range(gates)[1])
    found = derive(gates, budget)
    assert found.macs <= budget
    if found.step_macs is not None:
        assert budget - found.macs < found.step_macs
    assert found.macs == count_macs(TINY, mixers=found.mixers, ffn_hidden=found.ffn_hidden).total


@given(seed=st.integers(0, 10**6), shares=st.tuples(st.floats(0.25, 1.0), st.floats(0.25, 1.0)), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_smaller_budget_is_contained_in_a_larger_one(seed, shares, ties) -> None:
    gates = random_gates(seed, ties)
    dense = count_macs(TINY).total
    small, large = (derive(gates, share * dense) for share in sorted(shares))
    assert all(COST[a] <= COST[b] for a, b in zip(small.mixers, large.mixers, strict=True))
    assert all((b | ~a).all() for a, b in zip(small.ffn_kept, large.ffn_kept, strict=True))


def test_the_budget_of_the_gates_own_decisions_derives_just_those() -> None:
    gates = random_gates(5)
    own = settled(gates)
    again = derive(gates, own.macs)
    assert again.mixers == own.mixers
    assert again.ffn_hidden == own.ffn_hidden


def test_a_full_budget_closes_nothing() -> None:
    found = derive(random_gates(0), count_macs(TINY).total)
    assert found.mixers == ("msa",) * 4
    assert found.step_macs is None


def test_a_budget_that_cannot_be_reached_names_the_smallest() -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        derive(random_gates(0), 1.0)


def test_deriving_for_deit_base_touches_36900_gates() -> None:
    geometry = DeitGeometry(224, 16, 768, 12, 12, 3072, 1000)
    rng = np.random.default_rng(0)
    gates = Gates(geometry, rng.normal(size=(12, 3)), rng.normal(size=(12, 3072)))
    assert gates.mixer_logits.size + gates.ffn_logits.size == 36900
    found = derive(gates, 9e9)
    assert 9e9 - found.step_macs < found.macs <= 9e9


# Compact


@given(seed=st.integers(0, 10**6), share=st.floats(0.25, 1.0))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_search_derived_and_compact_forms_agree(seed, share) -> None:
    model, batch = single_path_model(seed), images(3)
    gates = gates_of(model, TINY)
    architecture = derive(gates, max(budget_range(gates)[0], share * count_macs(TINY).total))
    derived, plain = model(batch, derived_gating(architecture, batch.device)), compact(model, architecture)
    torch.testing.assert_close(plain(batch), derived, atol=1e-4, rtol=1e-4)
    own = settled(gates)
    torch.testing.assert_close(compact(model, own)(batch), model(batch), atol=1e-4, rtol=1e-4)
    for block, mixer, hidden in zip(plain.blocks, architecture.mixers, architecture.ffn_hidden, strict=True):
        kept = sum(p.numel() for p in block.attn.parameters())
        d, dim = 16, 32
        left = {
            "msa": 4 * dim**2 + 4 * dim,
            "conv3x3": 10 * d * dim + d + dim,
            "conv1x1": 2 * d * dim + d + dim,
            "skip": 0,
        }
        assert kept == left[mixer], "more than what remains is stored"
        assert block.mlp.fc1.weight.shape == (hidden, dim)


def test_compact_leaves_the_search_form_as_it_was() -> None:
    model = single_path_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plain = compact(model, derive(gates_of(model, TINY), 0.4 * count_macs(TINY).total)).requires_grad_(False)
    plain.blocks[0].register_forward_hook(lambda *_: pytest.fail("a hook on the compact form ran in the other one"))
    with torch.no_grad():
        model(images(2))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# Any budget


@torch.no_grad()
def test_calibrated_statistics_are_those_of_the_batches_at_that_budget() -> None:
    plain = single_path_model()
    model = SinglePathViT(plain.backbone, plain.alpha, (0.4, 0.8))
    model.paths.load_state_dict(plain.paths.state_dict())
    before = model.paths[0].bn_3x3.running_mean.clone()
    batches = [images(6, seed) for seed in (1, 2)]
    calibrate(model, TINY, batches)
    assert torch.equal(model.paths[0].bn_3x3.running_mean, before), "the model's own statistics were lost"
    for index, share in enumerate(model.budgets):
        architecture = derive(gates_of(model, TINY), share * count_macs(TINY).total)
        block = next(i for i, mixer in enumerate(architecture.mixers) if mixer.startswith("conv"))
        kind = 0 if architecture.mixers[block] == "conv3x3" else 1
        seen = []
        norm = norms_of(model.paths[block])[kind]
        hook = norm.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        for batch in batches:
            use_budget(model, index)
            model(batch, derived_gating(architecture, batch.device))
        hook.remove()
        mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
        var = torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
        torch.testing.assert_close(model.calibrated[index, block, kind, 0], mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.calibrated[index, block, kind, 1], var, atol=1e-5, rtol=1e-4)


def test_a_budget_between_two_calibrated_ones_runs_at_the_lower(tmp_path) -> None:
    plain = single_path_model()
    model = SinglePathViT(plain.backbone, plain.alpha, (0.4, 0.8))
    model.paths.load_state_dict(plain.paths.state_dict())
    calibrate(model, TINY, [images(6)])
    path = tmp_path / "any.safetensors"
    save_checkpoint(path, model, replace(CARD, single_path=SinglePathCard(plain.alpha, True, (0.4, 0.8))))
    dense = count_macs(TINY).total
    between = load(ModelSpec(str(path), budget=0.7 * dense))
    assert between.architecture.asked_macs == pytest.approx(0.4 * dense)
    assert load(ModelSpec(str(path), budget=0.8 * dense)).architecture.asked_macs == pytest.approx(0.8 * dense)
    with pytest.raises(InputError, match="from 40% of the dense MACs on"):
        load(ModelSpec(str(path), budget=0.39 * dense))
