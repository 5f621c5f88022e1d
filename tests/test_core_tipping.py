"""Where an answer flips and which patch tipped it, on traces made by hand and on a small model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import ModelSpec
from core.inference.tipping import Flip, LostPatch, Tipped, flip, lost_patches, tipping_patch, trace_decided, with_patch
from core.inference.trace import trace_tokens
from core.models.cards import SelectorCard
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results import ClassName, MacCount, Prediction, TokenTrace
from core.soft_tokens.decide import top_share
from core.soft_tokens.masked import masked_forward
from tests.tiny import CARD, token_model


def trace(kept: list[list[int]], cat: float, **more: object) -> TokenTrace:
    """A grid of 2 x 2 and as many selectors as rows; it says "cat" with this probability, "dog" else."""
    alive = np.array(kept, bool)
    stages = len(kept)
    values = np.zeros((stages, 4))
    heads = np.zeros((stages, 4, 1))
    said = Prediction(np.array([cat, 1 - cat]), (ClassName(None, "cat"), ClassName(None, "dog")))
    blocks = tuple(range(1, stages + 1))
    return TokenTrace((2, 2), blocks, alive, values, values, heads, heads, (5,) * 4, said, MacCount(1), 2, **more)


ALL = [[1, 1, 1, 1], [1, 1, 1, 1]]


def test_the_answer_flips_at_the_first_step_down_that_gives_another() -> None:
    traces = {0.2: trace(ALL, 0.6), 0.4: trace(ALL, 0.3), 0.6: trace(ALL, 0.7), 1.0: trace(ALL, 0.9)}
    assert flip(traces) == Flip(right=0.6, wrong=0.4, again=(0.2,))
    assert flip({ratio: trace(ALL, 0.9) for ratio in (0.1, 0.5, 1.0)}) is None


def test_a_patch_is_lost_where_fewer_selectors_keep_it() -> None:
    right = trace([[1, 1, 1, 0], [1, 1, 0, 0]], 0.9)
    wrong = trace([[1, 1, 0, 1], [1, 0, 0, 0]], 0.2)
    both = range(2)
    assert lost_patches(right, wrong) == (LostPatch(1, both), LostPatch(2, both))
    back = with_patch(right, wrong, LostPatch(2, both))
    assert back.astype(int).tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]], "no longer than it stays in the other"
    assert wrong.kept.astype(int).tolist() == [[1, 1, 0, 1], [1, 0, 0, 0]], "the trace itself is as it was"


def test_where_a_family_pools_a_cell_of_each_grid_counts_by_itself() -> None:
    grids = ((2, 2), (1, 1))
    right, wrong = (
        trace([[1, 1, 0, 0], [1, 0, 0, 0]], 0.9, grids=grids),
        trace([[1, 0, 0, 0], [0] * 4], 0.1, grids=grids),
    )
    assert lost_patches(right, wrong) == (LostPatch(1, range(1)), LostPatch(0, range(1, 2)))


def test_the_patch_whose_return_alone_restores_the_answer_most_tipped_it() -> None:
    right, wrong = trace([[1, 1, 1, 1]], 0.9), trace([[1, 0, 0, 0]], 0.2)
    by_patch, told = {1: 0.3, 2: 0.8, 3: 0.8}, []

    def run(kept: np.ndarray) -> TokenTrace:
        (back,) = (kept[0] & ~wrong.kept[0]).nonzero()[0]
        return trace([[1, 1, 1, 1]], by_patch[int(back)])

    found = tipping_patch(right, wrong, run, lambda done, of: told.append((done, of)))
    assert found == Tipped(LostPatch(2, range(1)), pytest.approx(0.8), restored=True)
    assert told == [(0, 3), (1, 3), (2, 3)]
    by_patch.update({2: 0.4, 3: 0.35})
    assert tipping_patch(right, wrong, run) == Tipped(LostPatch(2, range(1)), pytest.approx(0.4), restored=False)
    assert tipping_patch(wrong, wrong, run) is None


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    card = replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    return Loaded(ModelSpec("tiny"), card, token_model(), None, None, 10**9, 0)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def test_decisions_given_are_the_ones_that_run(loaded, photo) -> None:
    own = trace_tokens(loaded, photo, top_share((0.7, 0.5, 0.3), 16))
    again = trace_decided(loaded, photo, own.kept)
    assert (again.kept == own.kept).all()
    np.testing.assert_array_equal(again.prediction.probs, own.prediction.probs)
    with pytest.raises(ValueError, match="2 rows of decisions for 3 selectors"):
        trace_decided(loaded, photo, own.kept[:2])


def test_a_patch_put_back_gives_what_masking_all_the_others_gives(loaded, photo) -> None:
    right, wrong = (trace_tokens(loaded, photo, top_share((share,) * 3, 16)) for share in (0.75, 0.5))
    kept = with_patch(right, wrong, lost_patches(right, wrong)[0])
    assert kept.sum(axis=1).tolist() == [9, 9, 9]
    model = loaded.model
    policy = [torch.from_numpy(row)[None].float() for row in kept]
    with torch.no_grad():
        logits = masked_forward(
            model.backbone, model.by_block(), to_tensor(photo, loaded.card), lambda stage, scores, alive: policy[stage]
        )[0]
    found = trace_decided(loaded, photo, kept).prediction.probs
    np.testing.assert_allclose(found, logits.softmax(dim=-1)[0].numpy(), atol=1e-5)
