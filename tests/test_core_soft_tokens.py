"""Soft token pruning as a whole: removing equals masking, batches equal singles, nothing pruned equals timm."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import LayerScale

from core.errors import InputError
from core.families import deit
from core.soft_tokens.decide import (
    AttentionLike,
    above,
    check_keep,
    keep_count,
    own_decision,
    random_like,
    top_k,
    top_share,
)
from core.soft_tokens.lean import lean_block
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.packed import packed_attention, plan_attention
from tests.tiny import TINY, backbone, images, token_model


def as_mask(decide):
    """A decision in the form that masked training takes."""
    return lambda stage, scores, alive: decide(stage, scores, alive > 0).float()


DECISIONS = {"own": own_decision, "top": top_share((0.7, 0.5, 0.2), 16), "above": above(0.4)}


@pytest.mark.parametrize("name", DECISIONS)
@torch.no_grad()
def test_removed_tokens_give_the_logits_of_masked_tokens(name) -> None:
    model, batch = token_model(), images(8)
    gathered, stages = model.run(batch, DECISIONS[name])
    masked, _, masked_stages = masked_forward(model.backbone, model.by_block(), batch, as_mask(DECISIONS[name]))
    torch.testing.assert_close(gathered, masked, atol=1e-4, rtol=0)
    for one, other in zip(stages, masked_stages, strict=True):
        assert torch.equal(one.kept, other.kept)
        assert torch.equal(one.seen, other.seen)
        assert torch.equal(one.patches, other.patches)
        torch.testing.assert_close(one.package_weight, other.package_weight, atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_image_gets_the_same_logits_in_any_batch() -> None:
    model, batch = token_model(), images(8)
    together, stages = model.run(batch)
    counts = stages[-1].kept.sum(dim=1)
    assert len(counts.unique()) > 1, "all images keep the same count: the test would show nothing"
    alone = torch.cat([model.run(image[None])[0] for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_nothing_pruned_equals_timms_dense_forward() -> None:
    model, batch = token_model(), images(4)
    logits, stages = model.run(batch, above(0.0))
    torch.testing.assert_close(logits, model.backbone(batch), atol=1e-6, rtol=0)
    assert not any(stage.has_package.any() for stage in stages)


@torch.no_grad()
def test_everything_pruned_still_answers() -> None:
    model = token_model()
    logits, stages = model.run(images(3), lambda stage, scores, alive: torch.zeros_like(alive))
    assert logits.isfinite().all()
    assert stages[0].kept.sum() == 0
    assert not stages[1].has_package.any(), "nothing was left to fold at the second stage"


@torch.no_grad()
def test_removed_tokens_are_really_gone() -> None:
    model = token_model()
    seen = []
    hook = model.backbone.blocks[3].register_forward_hook(lambda module, args, out: seen.append(args[0].shape[1]))
    model.run(images(1), top_share((0.5, 0.25, 0.125), 16))
    hook.remove()
    assert seen == [1 + 2 + 3]  # class token, 2 of 16 patches, 3 packages


@torch.no_grad()
def test_package_weights_sum_to_one_over_the_patches_that_left() -> None:
    _, stages = token_model().run(images(5), top_share((0.6, 0.4, 0.1), 16))
    alive = torch.ones(5, 16, dtype=torch.bool)
    for stage in stages:
        torch.testing.assert_close(stage.package_weight.sum(dim=1), torch.ones(5))
        assert torch.equal(stage.package_weight > 0, alive & ~stage.kept)
        alive = stage.kept


def test_a_pruned_token_has_a_gradient_in_training() -> None:
    model = token_model().train()
    policy = [torch.zeros(2, 16).index_fill(1, torch.arange(6), 1.0).requires_grad_() for _ in range(3)]
    logits, _, _ = masked_forward(model.backbone, model.by_block(), images(2), lambda stage, s, a: policy[stage])
    logits.square().sum().backward()
    assert (policy[0].grad[:, 6:].abs() > 0).all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@given(share=st.floats(0.001, 1.0), patches=st.integers(1, 600))
def test_keep_count_is_the_smallest_whole_number_that_reaches_the_share(share, patches) -> None:
    count = keep_count(share, patches)
    assert count == pytest.approx(math.ceil(share * patches), abs=1)
    assert count >= share * patches - 1e-6
    assert count - 1 < share * patches


def test_fifty_five_percent_of_a_hundred_patches_is_fifty_five() -> None:
    assert 0.55 * 100 > 55  # a little, in binary
    assert keep_count(0.55, 100) == 55


@given(data=st.data())
@settings(max_examples=50)
def test_top_k_keeps_the_best_that_are_alive(data) -> None:
    values = torch.tensor([data.draw(st.permutations(range(9)))], dtype=torch.float32)
    alive = torch.tensor([data.draw(st.lists(st.booleans(), min_size=9, max_size=9))])
    count = data.draw(st.integers(0, 9))
    kept = top_k(values, alive, count)
    assert kept.sum() == min(count, int(alive.sum()))
    assert not (kept & ~alive).any()
    left = alive & ~kept
    if kept.any() and left.any():
        assert values[kept].min() > values[left].max()


@torch.no_grad()
def test_random_dropping_keeps_as_many_as_it_is_told_and_others() -> None:
    model, batch = token_model(), images(6)
    _, own = model.run(batch, top_share((0.7, 0.5, 0.2), 16))
    counts = [stage.kept.sum(dim=1) for stage in own]
    _, rival = model.run(batch, random_like(counts, torch.Generator().manual_seed(0)))
    for mine, other, count in zip(own, rival, counts, strict=True):
        assert torch.equal(other.kept.sum(dim=1), count)
        assert not torch.equal(mine.kept, other.kept)


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        ((0.5, 0.5), "3 selectors"),
        ((0.5, 0.7, 0.2), "never rise"),
        ((1.2, 0.5, 0.2), "up to 1"),
        ((0.5, 0.2, 0), "above 0"),
    ],
)
def test_keep_ratios_that_cannot_be_are_refused(keep, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        check_keep(keep, 3)


@pytest.mark.parametrize("blocks", [(), (3, 2), (0, 2), (2, TINY.depth)])
def test_selectors_outside_the_model_are_refused(blocks) -> None:
    with pytest.raises(InputError, match="rising"):
        SoftTokenViT(backbone(), blocks)


@pytest.mark.parametrize("shape", [(3, 24, 32), (3, 64, 64)])
def test_images_of_another_shape_are_refused_with_the_shape_that_is_possible(shape) -> None:
    with pytest.raises(InputError, match=f"{TINY.img_size} x {TINY.img_size} pixels; these have {shape[1]} x"):
        token_model()(torch.zeros(1, *shape))


# Ragged batches


@given(counts=st.lists(st.integers(0, 16), min_size=2, max_size=9))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_a_ragged_batch_gives_each_image_what_it_gets_alone(counts) -> None:
    model, batch = token_model((1, 3)), images(len(counts))
    wanted = torch.tensor(counts)

    def decide(of: torch.Tensor):
        def best(stage, scores, alive):
            rank = scores.keep_logit.masked_fill(~alive, -99).argsort(1).argsort(1)
            return (rank >= (alive.shape[1] - of // (stage + 1))[:, None]) & alive

        return best

    together, stages = model.run(batch, decide(wanted))
    assert torch.equal(stages[0].kept.sum(1), wanted)
    for index in range(len(counts)):
        alone, other = model.run(batch[index : index + 1], decide(wanted[index : index + 1]))
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=0)
        for one, whole in zip(other, stages, strict=True):
            assert torch.equal(one.kept[0], whole.kept[index])
            assert one.seen[0] == whole.seen[index]
            torch.testing.assert_close(one.per_head[0], whole.per_head[index], atol=1e-4, rtol=0, equal_nan=True)


def test_no_work_is_done_for_tokens_that_left() -> None:
    model, rows = token_model((1, 2)), []
    hook = model.backbone.blocks[3].mlp.fc1.register_forward_hook(lambda module, args, out: rows.append(out.shape))
    keep = torch.tensor([10, 3, 0, 16])
    with torch.no_grad():
        _, stages = model.run(
            images(4), lambda stage, scores, alive: (torch.arange(16) < keep[:, None] // (stage + 1)) & alive
        )
    hook.remove()
    packages = sum(int(stage.has_package.sum()) for stage in stages)
    assert rows == [torch.Size([4 + 5 + 1 + 0 + 8 + packages, 64])]  # class tokens, patches, packages: no padding


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), groups=st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_attention_on_slices_or_in_groups_is_attention_within_each_image(lengths, groups) -> None:
    attn = backbone().blocks[0].attn
    x = torch.randn(sum(lengths), 32)
    plan = plan_attention(lengths, x.device, groups)
    if plan.tokens is not None:
        assert len(set(lengths)) == 1
        return
    with torch.no_grad():
        found = packed_attention(attn, x, plan)
        alone = torch.cat([attn(part[None])[0] for part in x.split(lengths)])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_attentive_rival_keeps_what_the_class_token_attends_to_most_in_the_next_block() -> None:
    model, batch = token_model((2,)), images(3)
    counts = torch.tensor([3, 9, 5])
    _, (stage,) = model.run(batch, AttentionLike([counts]))
    x = deit.embed(model.backbone, batch)
    for block in model.backbone.blocks[:2]:
        x = block(x)
    block = model.backbone.blocks[2]
    qkv = block.attn.qkv(block.norm1(x)).reshape(3, 17, 3, 2, 16)
    for image in range(3):
        attention = torch.zeros(16)
        for head in range(2):
            scores = qkv[image, :, 1, head] @ qkv[image, 0, 0, head] / 4  # keys of all tokens, the class token's query
            attention += scores.softmax(0)[1:] / 2
        best = attention.argsort(descending=True)[: counts[image]]
        assert set(stage.kept[image].nonzero()[:, 0].tolist()) == set(best.tolist())


@torch.no_grad()
def test_the_lean_block_gives_what_timms_block_gives_and_leaves_its_input_alone() -> None:
    scaled = backbone()
    for block in scaled.blocks:
        block.ls1 = block.ls2 = LayerScale(32, init_values=0.3)
    for block in (*backbone().blocks, *scaled.blocks):
        x = torch.randn(1, 9, 32)
        before = x.clone()
        torch.testing.assert_close(lean_block(block, x), block(x), atol=1e-6, rtol=1e-6)
        assert torch.equal(x, before)


def test_logits_without_a_record_are_those_with_one() -> None:
    model, one = token_model((1, 3)), images(1)
    with torch.inference_mode():
        torch.testing.assert_close(model.run(one, record=False)[0], model.run(one)[0], atol=1e-5, rtol=0)
