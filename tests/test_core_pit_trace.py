"""A PiT's trace has a grid for each selector, and everything that shows or stores one follows."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from core.config import ModelSpec
from core.costs.macs import count_macs, macs_per_block
from core.errors import InputError
from core.inference.trace import trace_tokens
from core.inference.trace_file import KEYS, POOLED_KEYS, trace_document
from core.models.cards import SelectorCard
from core.models.load import Loaded, finish
from core.results import TokenTrace
from tests.tiny_pit import BLOCKS, PIT_CARD, TINY_PIT, pit_token_model
from viz.animation import animation
from viz.blocks import macs_per_block as draw_macs
from viz.blocks import tokens_per_block
from viz.player import player_data
from viz.scores import head_maps, keep_maps
from viz.token_tables import package_table, patch_table
from viz.tokens import package_photo, package_sentence, pruned_photo, stage_sentence

KEEP = (0.7, 0.5, 0.25, 0.5)
CARD = dataclasses.replace(PIT_CARD, selectors=SelectorCard(BLOCKS, KEEP, False))


def loaded(keep=KEEP) -> Loaded:
    return finish(ModelSpec("tiny", keep=keep), CARD, pit_token_model())


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 56, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def trace(photo) -> TokenTrace:
    return trace_tokens(loaded(), photo)


def test_each_selector_keeps_a_share_of_its_own_grid(trace) -> None:
    assert trace.grid == (7, 7)
    assert trace.grids == ((7, 7), (4, 4), (4, 4), (2, 2))
    assert trace.kept_counts == (35, 8, 4, 2)
    assert [int(row.sum()) for row in trace.dropped] == [14, 8, 4, 2]
    assert trace.dense_tokens == (50, 50, 17, 17, 17, 17, 5, 5)
    assert [trace.heads_at(s) for s in (1, 2, 3, 4)] == [2, 2, 2, 4]
    assert not trace.kept[3, 4:].any()


def test_a_patch_may_not_return_on_one_grid_but_every_cell_of_the_next_is_alive(trace) -> None:
    back = trace.kept.copy()
    back[2] = False
    back[2, int(np.flatnonzero(~trace.kept[1, :16])[0])] = True
    with pytest.raises(ValueError, match="came back"):
        dataclasses.replace(trace, kept=back, package_weight=np.zeros_like(trace.package_weight))
    outside = trace.kept.copy()
    outside[3, 4] = True
    with pytest.raises(ValueError, match="came back"):
        dataclasses.replace(trace, kept=outside, package_weight=np.zeros_like(trace.package_weight))


def test_weights_miss_one_by_what_the_package_held_before(trace) -> None:
    sums = trace.package_weight.sum(axis=1)
    assert sums[0] == pytest.approx(1, abs=1e-5)
    assert all(0 < total < 1 for total in sums[1:])
    assert package_sentence(trace, 1) == "Folded into the package at selector 1: 14 patches."
    assert "that was there before" in package_sentence(trace, 2)


def test_blocks_sum_up_to_the_photo(trace) -> None:
    counts = macs_per_block(TINY_PIT, trace)
    assert sum(count.total for count in counts) + trace.macs.embedding + trace.macs.head == trace.macs.total
    assert trace.macs.total < trace.dense_macs == count_macs(TINY_PIT).total
    assert (
        len(draw_macs(trace, counts, None).data) == 3
    )  # attention, FFN, selectors: no line, since blocks are not alike


def test_document_lists_the_patches_of_each_grid(trace) -> None:
    found = trace_document(ModelSpec("tiny", keep=KEEP), trace)
    assert found.keys() == KEYS.keys() | POOLED_KEYS.keys()
    assert [len(row) for row in found["kept"]] == [49, 16, 16, 4]
    assert [len(row[0]) for row in found["per_head"]] == [2, 2, 2, 4]
    assert found["selector_grids"] == [[7, 7], [4, 4], [4, 4], [2, 2]]
    json.dumps(found, allow_nan=False)


def test_pictures_draw_every_stage_on_its_own_grid(photo, trace) -> None:
    dark = [np.asarray(pruned_photo(photo.convert("L"), trace, s, 56), float).mean() for s in range(5)]
    assert dark[1] < dark[0]
    assert dark[3] < dark[2]  # the same grid, less of it
    assert [pruned_photo(photo, trace, s, 57).size for s in range(5)] == [(56, 56)] * 5
    whole = Image.new("RGB", (56, 56), (200, 200, 200))
    pixels = np.asarray(pruned_photo(whole, trace, 2, 56), float).reshape(4, 14, 4, 14, 3)
    alive = (pixels == 200).all(axis=(1, 3, 4)).flatten()  # nothing of the grid before shows
    assert (alive == trace.kept[1, :16]).all()
    assert package_photo(photo, trace, 4, 56).size == (56, 56)
    assert "8 of 16 patches kept, on a grid of 4" in stage_sentence(trace, 2)
    assert len(animation(photo, trace, "GIF")) > 1000


def test_heat_maps_tables_and_bars_follow_the_grids(trace) -> None:
    assert [np.shape(each.z) for each in keep_maps(trace).data] == [(7, 7), (4, 4), (4, 4), (2, 2)]
    assert [len(head_maps(trace, s).data) for s in (1, 4)] == [2, 4]
    assert len(patch_table(trace)["Row"]) == 4
    middle = patch_table(trace, 3)
    assert len(middle["Row"]) == 16
    assert [key for key in middle if key.startswith("Score")] == ["Score at selector 2", "Score at selector 3"]
    assert middle["Left at"].count("selector 3") == 4
    table = package_table(trace)
    assert max(row for row, p in zip(table["Row"], table["Package"], strict=True) if p == 4) <= 2
    figure = tokens_per_block(trace)
    bars = [bar for bar in figure.data if bar.type == "bar"]
    assert tuple(np.sum([bar.y for bar in bars], axis=0)) == trace.tokens
    assert [bar.name for bar in bars] == ["Class token", "Kept patches", "Package"]


def test_player_gets_each_grid_once_and_which_one_a_stage_shows(trace) -> None:
    data = player_data(trace)
    assert data["grids"] == [[7, 7], [4, 4], [2, 2]]
    assert data["on"] == [0, 0, 1, 1, 2]
    assert [len(each) for each in data["now"]["left"]] == [49, 16, 4]
    assert [data["now"]["left"][1].count(s) for s in (0, 2, 3)] == [4, 8, 4]
    assert [len(row) for row in data["now"]["scores"]] == [49, 16, 16, 4]
    json.dumps(data, allow_nan=False)


def test_shares_may_rise_from_one_grid_to_the_next_but_not_on_one(photo) -> None:
    assert trace_tokens(loaded((0.5, 1.0, 0.5, 1.0)), photo).kept_counts == (25, 16, 8, 4)
    with pytest.raises(InputError, match="Keep ratios count the patches of one grid, on which they never rise"):
        loaded((0.5, 0.4, 0.5, 1.0))


def test_single_path_pruning_says_whom_it_takes() -> None:
    with pytest.raises(InputError, match="Single-path pruning cannot take pit models; it takes a deit"):
        finish(ModelSpec("tiny", budget=1e6), CARD, pit_token_model())
