"""Pruned tokens leave: removed and masked agree in everything but cost; rivals keep as many; blocks sum up."""

import pytest
from PIL import Image

from core.config import ModelSpec
from core.costs.macs import count_macs, macs_per_block
from core.inference.removal import compare_removal
from core.inference.rivals import rival_trace
from core.inference.trace import trace_tokens
from core.models.load import Loaded
from core.soft_tokens.decide import top_share
from tests.tiny import CARD, TINY, backbone, images, token_model


@pytest.fixture
def loaded() -> Loaded:
    """Selectors before blocks 1, 2 and 3 of 4, on 4 x 4 patches."""
    return Loaded(ModelSpec("tiny"), CARD, token_model(), None, None, count_macs(TINY).total, 0)


@pytest.fixture
def photo() -> Image.Image:
    return Image.effect_noise((40, 40), 90).convert("RGB")


def test_removed_and_masked_tokens_give_the_same_logits_at_different_cost(loaded) -> None:
    found = compare_removal(loaded, images(1), top_share((0.5, 0.25, 0.125), 16), repeats=4)
    assert found.same_decisions
    assert found.logit_gap < 1e-4
    assert found.removed_tokens == (17, 10, 7, 6)  # class token, 8, 4, 2 patches, 1, 2, 3 packages
    assert found.masked_tokens == (17, 18, 19, 20)
    assert found.removed_macs < found.dense_macs < found.masked_macs
    assert {way.repeats for way in (found.dense, found.masked, found.removed)} == {4}


def test_masked_macs_are_those_of_all_tokens_and_one_package_more_behind_each_selector(loaded) -> None:
    found = compare_removal(loaded, images(1), top_share((0.5, 0.5, 0.5), 16), repeats=4)
    selecting = found.masked_macs - count_macs(TINY, tokens=(17, 18, 19, 20)).total
    per_token = (selecting - 3 * 16 * 32) / (16 + 17 + 18)  # packages fold 16 patches of 32 channels each
    assert per_token == 2 * (16 * 16 + 16 * 8 + 8 * 4 + 4 * 2) + 2 * 2  # the selector's layers, d = 16, H = 2


def test_a_dense_model_has_nothing_to_remove() -> None:
    dense = Loaded(ModelSpec("tiny"), CARD, backbone(), None, None, 1, 0)
    with pytest.raises(ValueError, match="no token selectors"):
        compare_removal(dense, images(1), top_share((0.5,), 16))


@pytest.mark.parametrize("rival", ["random", "attention"])
def test_rival_keeps_as_many_patches_for_the_same_macs_but_others(loaded, photo, rival) -> None:
    own = trace_tokens(loaded, photo, top_share((0.75, 0.5, 0.25), 16))
    other = rival_trace(loaded, photo, own, rival)
    assert other.kept_counts == own.kept_counts == (12, 8, 4)
    assert other.macs == own.macs
    assert (other.kept != own.kept).any()


def test_deciding_another_way_leaves_the_model_as_it_was(loaded, photo) -> None:
    before = trace_tokens(loaded, photo)
    trace_tokens(loaded, photo, top_share((0.25, 0.25, 0.25), 16))
    assert (trace_tokens(loaded, photo).kept == before.kept).all()


@pytest.mark.parametrize("keep", [(1.0, 1.0, 1.0), (0.75, 0.75, 0.25), (0.1, 0.1, 0.1)])
def test_macs_of_blocks_with_embedding_and_head_are_those_of_the_image(loaded, photo, keep) -> None:
    trace = trace_tokens(loaded, photo, top_share(keep, 16))
    counts = macs_per_block(TINY, trace)
    assert len(counts) == 4
    assert sum(count.total for count in counts) + TINY.overhead(TINY.blocks()).total == trace.macs.total
    assert [count.selectors > 0 for count in counts] == [False, True, True, True]


def test_macs_of_a_block_are_those_of_its_tokens(loaded, photo) -> None:
    trace = trace_tokens(loaded, photo, top_share((0.5, 0.5, 0.5), 16))
    assert trace.tokens[1] == 10
    block = macs_per_block(TINY, trace)[1]
    assert block.attention == 4 * 10 * 32**2 + 2 * 10**2 * 32
    assert block.ffn == 2 * 10 * 32 * 64
