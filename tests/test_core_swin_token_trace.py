"""A Swin's trace has a grid for each selector, and everything that shows or stores one follows."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from core.config import ModelSpec
from core.costs.macs import macs_per_block
from core.inference.attribution import attribute
from core.inference.trace import trace_tokens
from core.inference.trace_file import KEYS, POOLED_KEYS, trace_document
from core.models.cards import SelectorCard
from core.models.load import Loaded, finish
from core.results import Layers, TokenTrace
from tests.tiny_swin import TOKEN_BLOCKS, TOKEN_SWIN, TOKEN_SWIN_CARD, dense_swin, swin_token_model
from viz.blocks import tokens_per_block
from viz.player import player_data
from viz.tokens import pruned_photo, stage_sentence

KEEP = (0.7, 0.5, 0.25, 0.5)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (72, 72, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=["selectors", "ranked"])
def loaded(request) -> Loaded:
    if request.param == "ranked":
        return finish(ModelSpec("tiny", keep=KEEP, blocks=TOKEN_BLOCKS), TOKEN_SWIN_CARD, dense_swin())
    card = dataclasses.replace(TOKEN_SWIN_CARD, selectors=SelectorCard(TOKEN_BLOCKS, KEEP, False))
    return finish(ModelSpec("tiny", keep=KEEP), card, swin_token_model())


@pytest.fixture(scope="module")
def trace(loaded, photo) -> TokenTrace:
    return trace_tokens(loaded, photo)


def test_each_selector_keeps_a_share_of_its_own_grid(trace) -> None:
    assert trace.grids == ((12, 12), (6, 6), (6, 6), (3, 3))
    assert trace.kept_counts == (101, 18, 9, 5)
    assert trace.tokens == (144, 102, 37, 19, 19, 10, 10, 6)
    assert trace.first == ""


def test_blocks_sum_up_to_the_photo(loaded, trace) -> None:
    layers: Layers = loaded.model.layers
    counts = macs_per_block(TOKEN_SWIN, trace, layers)
    assert sum(count.total for count in counts) + trace.macs.embedding + trace.macs.head == trace.macs.total
    assert trace.macs.total < trace.dense_macs


def test_pictures_player_and_document_follow_the_grids(photo, trace) -> None:
    data = player_data(trace)
    assert data["grids"] == [[12, 12], [6, 6], [3, 3]]
    assert data["on"] == [0, 0, 1, 1, 2]
    assert [len(each) for each in data["now"]["left"]] == [144, 36, 9]
    found = trace_document(ModelSpec("tiny", keep=KEEP), trace)
    assert found.keys() == KEYS.keys() | POOLED_KEYS.keys()
    assert [len(row) for row in found["kept"]] == [144, 36, 36, 9]
    json.dumps([data, found], allow_nan=False)
    assert pruned_photo(photo, trace, 2, 48).size == (48, 48)
    assert "18 of 36 patches kept, on a grid of 6" in stage_sentence(trace, 2)
    bars = [bar for bar in tokens_per_block(trace).data if bar.type == "bar"]
    assert tuple(np.sum([bar.y for bar in bars], axis=0)) == trace.tokens


def test_a_pruned_swin_can_be_explained(loaded, photo) -> None:
    found = attribute(loaded, photo, 0, "gradients")
    assert found.values.shape == (12, 12)
    assert found.frozen_selectors == 4
    assert abs(found.delta) < 0.1 * abs(found.rise)  # a rough sum, of random weights
