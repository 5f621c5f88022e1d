"""Soft token pruning on a PiT: removing equals masking, frozen patches reach the pooling, one package accumulates."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.config import ModelSpec
from core.errors import InputError
from core.families import pit
from core.inference.removal import compare_removal
from core.models.cards import SelectorCard
from core.models.load import finish
from core.soft_tokens.accumulate import Carried, accumulated
from core.soft_tokens.decide import AttentionShare, above, own_decision, top_share
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import images
from tests.tiny_pit import BLOCKS, PIT_CARD, TINY_PIT, pit_backbone, pit_token_model

PATCHES = (49, 16, 16, 4)
DECISIONS = {"own": own_decision, "top": top_share((0.7, 0.5, 0.2, 0.5), PATCHES), "above": above(0.45)}


def as_mask(decide):
    """A decision in the form that masked training takes."""
    return lambda stage, scores, alive: decide(stage, scores, alive > 0).float()


@pytest.mark.parametrize("packaging", ["weighted_mean", "weighted_sum"])
@pytest.mark.parametrize("name", DECISIONS)
@torch.no_grad()
def test_removed_tokens_give_the_logits_of_masked_tokens(name, packaging) -> None:
    model, batch = pit_token_model(), images(8)
    model.packaging = packaging
    gathered, stages = model.run(batch, DECISIONS[name])
    masked, tokens, masked_stages = masked_forward(
        model.backbone, model.by_block(), batch, as_mask(DECISIONS[name]), packaging
    )
    torch.testing.assert_close(gathered, masked, atol=1e-4, rtol=0)
    assert tokens.shape == (8, 4, 64)
    assert sum(int((~stage.kept).sum()) for stage in stages) > 8, "nothing was dropped: the test would show nothing"
    for one, other, patches in zip(stages, masked_stages, PATCHES, strict=True):
        assert one.kept.shape == (8, patches)
        for field in ("kept", "seen", "patches", "has_package"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        torch.testing.assert_close(one.package_weight, other.package_weight, atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_image_gets_the_same_logits_in_any_batch() -> None:
    model, batch = pit_token_model(), images(8)
    together, stages = model.run(batch)
    assert len(stages[-2].kept.sum(dim=1).unique()) > 1, "all images keep the same count"
    torch.testing.assert_close(together, torch.cat([model.run(image[None])[0] for image in batch]), atol=1e-4, rtol=0)
    torch.testing.assert_close(together, torch.cat([model(image[None]) for image in batch]), atol=1e-4, rtol=0)


@torch.no_grad()
def test_keeping_everything_is_timms_dense_forward() -> None:
    model, batch = pit_token_model(), images(4)
    everything = top_share((1.0,) * 4, PATCHES)
    dense = model.backbone(batch)
    torch.testing.assert_close(model.run(batch, everything)[0], dense, atol=1e-5, rtol=0)
    masked = masked_forward(model.backbone, model.by_block(), batch, as_mask(everything))[0]
    torch.testing.assert_close(masked, dense, atol=1e-5, rtol=0)


def literal(model: SoftTokenViT, image: Tensor, kept: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Logits (C,) of one image (3, H, W): tokens in dictionaries, each block of timm's on those that are there.

    Args:
        model: Whose backbone is run.
        image: Normalised.
        kept: Per selector bool (N,).
        weights: Per selector the keep probability of each patch that it saw, (N,).
    """
    net = model.backbone
    maps, prefix = net.patch_embed(image[None]) + net.pos_embed, net.cls_token
    package, total, at, index = None, 0.0, 0, 0
    for stage in net.transformers:
        if stage.pool is not None:
            maps, prefix = stage.pool.conv(maps), stage.pool.fc(prefix)
            package = None if package is None else stage.pool.fc(package)
        _, width, rows, cols = maps.shape
        alive = {n: maps[0, :, n // cols, n % cols] for n in range(rows * cols)}
        gone: dict[int, Tensor] = {}
        for block in stage.blocks:
            if index in model.blocks:
                leaving = [n for n in alive if not kept[at][n]]
                if leaving:
                    mass = total + sum(float(weights[at][n]) for n in leaving)
                    new = sum(float(weights[at][n]) * alive[n] for n in leaving)
                    package = (new if package is None else new + total * package[0, 0])[None, None] / mass
                    total = mass
                for n in leaving:
                    gone[n] = alive.pop(n)
                at += 1
            tokens = [*prefix[0], *alive.values(), *([] if package is None else [package[0, 0]])]
            out = block(torch.stack(tokens)[None])[0]
            prefix, rest = out[None, : prefix.shape[1]], out[prefix.shape[1] :]
            alive = dict(zip(alive, rest, strict=False))
            package = None if package is None else rest[-1][None, None]
            index += 1
        cells = [alive[n] if n in alive else gone[n] for n in range(rows * cols)]
        maps = torch.stack(cells, dim=1).reshape(1, width, rows, cols)
    return net.head(net.norm(prefix[:, 0]))[0]


@torch.no_grad()
def test_the_whole_is_what_a_slow_loop_over_single_tokens_gives() -> None:
    model, batch = pit_token_model(), images(3, seed=4)
    logits, stages = model.run(batch, DECISIONS["top"])
    for i, image in enumerate(batch):
        slow = literal(model, image, [s.kept[i] for s in stages], [s.keep_prob[i] for s in stages])
        torch.testing.assert_close(logits[i], slow, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_pruned_patch_reaches_the_pooling_with_the_value_that_it_had() -> None:
    """Only the first selector drops, and the package has no say: masking with moving patches would differ."""
    model, batch = pit_token_model((1,)), images(4)
    half = top_share((0.5,), (49,))
    frozen, stages = model.run(batch, half)
    first = model.backbone.transformers[0]
    maps, prefix = pit.embed(model.backbone, batch)
    x = first.blocks[0](torch.cat((prefix, pit.as_patches(maps)), dim=1))[:, 1:]
    seen = []
    first_pool = model.backbone.transformers[1].pool.conv
    handle = first_pool.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.run(batch, half)
    masked_forward(model.backbone, model.by_block(), batch, as_mask(half))
    handle.remove()
    for pooled in seen:
        gone = ~stages[0].kept
        torch.testing.assert_close(pit.as_patches(pooled)[gone], x[gone], atol=1e-5, rtol=0)
    assert len(seen) == 2
    assert frozen.isfinite().all()


def test_a_package_is_the_mean_of_all_that_was_folded_into_it() -> None:
    before = Carried(torch.tensor([[4.0]]), torch.tensor([0.5]), torch.tensor([True]))
    shares = accumulated(torch.tensor([[0.25, 0.25, 0.9]]), torch.tensor([[1.0, 1.0, 0.0]]), before, "weighted_mean")
    torch.testing.assert_close(shares.patches, torch.tensor([[0.25, 0.25, 0.0]]))
    torch.testing.assert_close(shares.carried, torch.tensor([0.5]))
    torch.testing.assert_close(shares.weight, torch.tensor([1.0]))


def test_a_package_stays_where_nothing_more_is_dropped_and_none_comes_of_nothing() -> None:
    before = Carried(torch.ones(2, 1), torch.tensor([0.3, 0.0]), torch.tensor([True, False]))
    shares = accumulated(torch.full((2, 3), 0.5), torch.zeros(2, 3), before, "weighted_mean")
    assert shares.exists.tolist() == [True, False]
    assert shares.carried.tolist() == [1.0, 0.0]
    assert not shares.patches.any()


def test_training_reaches_every_selector_and_no_gradient_is_nan() -> None:
    model = pit_token_model()
    logits, _, _stages = masked_forward(model.backbone, model.by_block(), images(4), as_mask(DECISIONS["top"]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for selector in model.by_block().values():
        assert selector.embed.weight.grad.abs().max() > 0


@torch.no_grad()
def test_attention_of_the_class_token_can_decide_too() -> None:
    model = pit_token_model()
    _, stages = model.run(images(2), AttentionShare((0.5, 0.5, 0.25, 0.5), PATCHES))
    assert [stage.kept.sum(dim=1).tolist() for stage in stages] == [[25, 25], [8, 8], [4, 4], [2, 2]]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (
            (2,),
            "No selector can stand before block 2, where a pooling has just made a new grid; choose among blocks 1, 3",
        ),
        ((1, 6), "No selector can stand before block 6"),
        ((1, 8), "Selectors stand before blocks 1 to 7"),
        ((0, 1), "Selectors stand before blocks 1 to 7"),
    ],
)
def test_selectors_stand_inside_of_stages(blocks, said) -> None:
    with pytest.raises(InputError, match=said):
        SoftTokenViT(pit_backbone(), blocks)


def test_each_selector_sees_the_grid_of_its_stage() -> None:
    model = pit_token_model()
    assert model.patches == PATCHES
    assert TINY_PIT.grids == ((7, 7), (4, 4), (2, 2))
    assert [s.norm.weight.numel() for s in model.selectors.values()] == [16, 32, 32, 64]
    assert pit.geometry_of(model.backbone) == TINY_PIT
    assert model.blocks == BLOCKS


def test_masked_and_removed_agree_where_they_are_compared_and_masking_saves_nothing() -> None:
    spec, decide = ModelSpec("tiny"), DECISIONS["top"]
    card = replace(PIT_CARD, selectors=SelectorCard(BLOCKS, (0.7, 0.5, 0.2, 0.5), False))
    found = compare_removal(finish(spec, card, pit_token_model()), images(1), decide, repeats=4)
    assert found.same_decisions
    assert found.logit_gap < 1e-4
    assert found.masked_tokens == (50, 51, 18, 18, 18, 18, 6, 6)
    assert found.removed_macs < found.dense_macs < found.masked_macs
