"""The photo with pruned patches, the packages and the tokens per block, from a trace made by hand."""

import base64
import dataclasses
import io
import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from core.config import ModelSpec
from core.inference.trace_file import KEYS, trace_document
from core.results import ClassName, MacCount, Prediction, TokenTrace
from viz.animation import LAST_MS, STAGE_MS, animation, png
from viz.blocks import macs_per_block, tokens_per_block
from viz.player import PHOTO_SIDE, photo_url, player_data, step_data
from viz.scores import head_maps, keep_maps
from viz.theme import rgb, selector_look
from viz.token_tables import package_table, patch_table
from viz.tokens import class_badge, package_photo, package_sentence, package_swatch, pruned_photo, stage_sentence

GREY = 200


@pytest.fixture
def trace() -> TokenTrace:
    """A grid of 2 x 2: the first selector drops the first patch, the second one the second; 4 blocks."""
    kept = np.array([[False, True, True, True], [False, False, True, True]])
    weight = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    prob = np.array([[0.1, 0.4, 0.9, 0.8], [np.nan, 0.2, 0.9, 0.8]])
    said = Prediction(np.array([0.75, 0.25]), (ClassName(None, "cat"), ClassName(None, "dog")))
    return TokenTrace((2, 2), (1, 2), kept, prob, weight, *HEADS, (5, 5, 5, 5), said, MacCount(1, 2, 0, 3, 1, 1), 20)


HEADS = (np.full((2, 4, 2), 0.5), np.full((2, 4, 2), 0.5))


@pytest.fixture
def photo() -> Image.Image:
    return Image.new("RGB", (90, 90), (GREY, GREY, GREY))


def patches(image: Image.Image) -> list[np.ndarray]:
    """The four quarters of a square image, row by row."""
    half = image.width // 2
    pixels = np.asarray(image, np.float64)
    return [pixels[r : r + half, c : c + half] for r in (0, half) for c in (0, half)]


def test_kept_patches_are_the_photo_itself(photo, trace) -> None:
    for stage in range(3):
        for number in (2, 3):
            assert (patches(pruned_photo(photo, trace, stage, 80))[number] == GREY).all()


def test_the_input_shows_the_whole_photo(photo, trace) -> None:
    assert (np.asarray(pruned_photo(photo, trace, 0, 80)) == GREY).all()


def test_a_patch_is_tinted_when_it_leaves_and_only_dark_afterwards(photo, trace) -> None:
    now, later = (patches(pruned_photo(photo, trace, stage, 80))[0] for stage in (1, 2))
    assert now.mean() < GREY
    background = np.median(later.reshape(-1, 3), axis=0)  # most of it is no hatch
    np.testing.assert_allclose(background, GREY * 0.4, atol=1)  # darkened by 60 %, no tint
    tint = np.median(now.reshape(-1, 3), axis=0)
    red, _, blue = rgb(selector_look(0).colour)
    assert (tint[2] - tint[0]) * (blue - red) > 0


def test_a_pruned_patch_carries_a_hatch_besides_its_colour(photo, trace) -> None:
    for stage in (1, 2):
        patch = patches(pruned_photo(photo, trace, stage, 80))[stage - 1]
        assert patch.std(axis=(0, 1)).max() > 10  # a plain fill of a plain photo would have none


def test_hatches_of_six_packages_differ_without_colour() -> None:
    inside = [np.asarray(package_swatch(k, 64).convert("L"), float)[8:56, 8:56] for k in range(6)]
    shapes = [(np.abs(grey - np.median(grey)) > 10).astype(float) for grey in inside]
    for one, other in combinations(shapes, 2):
        assert np.abs(one - other).mean() > 0.1


def test_the_picture_has_whole_patches_and_keeps_the_grid(photo, trace) -> None:
    assert pruned_photo(photo, trace, 1, 81).size == (80, 80)


def test_class_badge_is_round() -> None:
    alpha = np.asarray(class_badge(40))[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[20, 2] == 255


def test_tokens_per_block_stack_up_to_the_tokens_of_the_trace(trace) -> None:
    figure = tokens_per_block(trace)
    bars = [bar for bar in figure.data if bar.type == "bar"]
    assert tuple(np.sum([bar.y for bar in bars], axis=0)) == trace.tokens
    by_name = {bar.name: tuple(bar.y) for bar in bars}
    assert by_name["Kept patches"] == (4, 3, 2, 2)
    assert by_name["Package 1"] == (0, 1, 1, 1)
    assert by_name["Package 2"] == (0, 0, 1, 1)
    assert [bar.marker.pattern.shape for bar in bars if bar.name.startswith("Package")] == ["\\", "/"]


def test_sentence_counts_blocks_from_one_and_names_the_package(trace) -> None:
    assert stage_sentence(trace, 2) == "Selector 2 before block 3: 2 of 4 patches kept, 1 folded into package 2."
    assert stage_sentence(trace, 0) == "Input: all 4 patches and the class token enter block 1."


def test_sentence_says_when_a_selector_drops_nothing(trace) -> None:
    calm = TokenTrace(
        trace.grid,
        (1,),
        np.ones((1, 4), bool),
        np.ones((1, 4)),
        np.zeros((1, 4)),
        np.ones((1, 4, 2)),
        np.ones((1, 4, 2)),
        (5, 5),
        trace.prediction,
        trace.macs,
        20,
    )
    assert "none dropped, so there is no package" in stage_sentence(calm, 1)


def test_player_gets_where_each_patch_left_what_it_weighed_and_every_score(trace) -> None:
    step = step_data(trace)
    assert step["left"] == [[1, 2, 0, 0]]
    assert step["weight"] == [[1.0, 1.0, 0.0, 0.0]]
    assert step["scores"] == [[100, 400, 900, 800], [None, 200, 900, 800]]
    assert step["folded"] == [1, 1]
    assert step["sentences"] == [stage_sentence(trace, stage) for stage in range(3)]
    assert step["summary"] == "0.01 k MACs, 40 % of dense; 5 of 5 tokens at the end; the answer is cat."


def test_player_gets_the_grid_and_a_look_for_each_selector(trace) -> None:
    data = player_data(trace, {0.5: trace, 1.0: trace})
    assert (data["grids"], data["on"], data["blocks"], data["prefix"]) == ([[2, 2]], [0, 0, 0], [1, 2], 1)
    assert [look["hatch"] for look in data["looks"]] == ["\\", "/"]
    assert list(data["steps"]) == ["0.50", "1.00"]
    assert data["steps"]["0.50"] == data["now"]
    assert player_data(trace)["steps"] is None
    assert json.loads(json.dumps(data)) == data


def test_all_steps_of_a_large_grid_are_small(trace) -> None:
    patches, stages = 24 * 24, 3
    rng = np.random.default_rng(0)
    left = rng.integers(0, stages + 1, patches)
    kept = np.stack([(left == 0) | (left > s) for s in range(1, stages + 1)])
    there = np.vstack([np.ones((1, patches), bool), kept[:-1]])
    weight = np.where(there & ~kept, rng.random((stages, patches)), 0)
    heads = np.full((stages, patches, 6), 0.5)
    large = TokenTrace(
        (24, 24),
        (3, 6, 9),
        kept,
        np.where(there, rng.random((stages, patches)), np.nan),
        weight / weight.sum(axis=1, keepdims=True),
        heads,
        heads,
        (577,) * 12,
        trace.prediction,
        trace.macs,
        20,
    )
    text = json.dumps(player_data(large, {k / 20: large for k in range(2, 21)}))
    assert len(text) < 400_000
    assert player_data(large)["now"]["left"] == [left.tolist()]


def test_player_photo_is_a_small_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    kind, _, text = photo_url(Image.fromarray(noise)).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(text))).size == (PHOTO_SIDE, PHOTO_SIDE)


def test_macs_per_block_name_each_part_in_millions(trace) -> None:
    counts = [MacCount(0, 2_000_000, 0, 3_000_000, 0, 0), MacCount(0, 1_000_000, 0, 1_000_000, 500_000, 0)]
    by_name = {bar.name: tuple(bar.y) for bar in macs_per_block(trace, counts, 6_000_000).data}
    assert by_name["Attention"] == (2.0, 1.0)
    assert by_name["Selectors"] == (0.0, 0.5)
    assert by_name["Dense block"] == (6.0, 6.0)
    assert "Convolution" not in by_name
    mixed = [*counts[:1], MacCount(0, 0, 700_000, 1_000_000, 0, 0)]
    by_name = {bar.name: tuple(bar.y) for bar in macs_per_block(trace, mixed, 6_000_000).data}
    assert by_name["Convolution"] == (0.0, 0.7)


def test_package_photo_is_brightest_where_the_weight_is(photo, trace) -> None:
    one, other, *_ = patches(package_photo(photo, trace, 1, 80))
    assert np.median(one) == GREY
    np.testing.assert_allclose(np.median(other), GREY * 0.22, atol=1)


def test_package_sentence_names_the_heaviest_member(trace) -> None:
    assert package_sentence(trace, 2) == "Package 2: one patch alone, row 1, column 2."
    weight = np.array([[0.75, 0.25, 0, 0], [0, 0, 0, 0]])
    kept = np.array([[False, False, True, True]] * 2)
    two = dataclasses.replace(trace, kept=kept, package_weight=weight)
    assert package_sentence(two, 1) == (
        "Package 1: 2 patches; the heaviest, row 1, column 1, has 75.0 % of the weight, the lightest 25.0 %."
    )
    assert "there is none" in package_sentence(two, 2)


def test_heat_maps_share_one_scale_and_leave_the_gone_empty(trace) -> None:
    figure = keep_maps(trace)
    assert [np.isnan(np.float64(each.z)).sum() for each in figure.data] == [0, 1]
    assert figure.data[0].z[1][0] == 0.9
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert "Keep probability" in figure.layout.coloraxis.colorbar.title.text
    assert len(head_maps(trace, 1).data) == 2


def test_tables_count_rows_and_columns_from_one(trace) -> None:
    table = patch_table(trace)
    assert table["Row"] == [1, 1, 2, 2]
    assert table["Column"] == [1, 2, 1, 2]
    assert table["Left at"] == ["selector 1", "selector 2", "kept", "kept"]
    assert table["Package"] == [1, 2, None, None]
    assert table["Score at selector 2"] == [None, 0.2, 0.9, 0.8]
    assert package_table(trace) == {"Package": [1, 2], "Row": [1, 1], "Column": [1, 2], "Weight in it, %": [100, 100]}


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_animation_has_all_stages_in_a_loop_with_the_last_one_longest(photo, trace, form) -> None:
    film = Image.open(io.BytesIO(animation(photo, trace, form)))
    assert film.n_frames == 3
    assert film.info["loop"] == 0
    durations, frames = [], []
    for number in range(3):
        film.seek(number)
        film.load()
        durations.append(film.info["duration"])
        frames.append(np.asarray(film.convert("RGB"), float))
    assert durations == [STAGE_MS, STAGE_MS, LAST_MS]
    for number in (1, 2):
        still = np.asarray(Image.open(io.BytesIO(png(photo, trace, number))), float)
        assert np.abs(frames[number] - still).mean() < 6  # hatches and caption are as in the still picture
        assert np.abs(frames[number] - frames[0]).mean() > 10


def test_caption_stands_below_the_photo(photo, trace) -> None:
    picture = Image.open(io.BytesIO(png(photo, trace, 1)))
    assert picture.width == 640
    strip = np.asarray(picture)[640:]
    assert len(strip) > 30
    assert (strip < 100).any()
    assert (strip[:8] == 255).all()


def test_document_of_a_trace_holds_what_its_keys_say_and_is_json(trace) -> None:
    found = trace_document(ModelSpec("some", keep=(0.75, 0.5)), trace)
    assert found.keys() == KEYS.keys()
    assert found["keep_prob"][1] == [None, 0.2, 0.9, 0.8]
    assert found["model"] == {"name": "some", "budget": None, "keep": (0.75, 0.5), "threshold": None}
    assert found["selector_blocks"] == [1, 2]
    assert found["top5"][0] == {"label": "cat", "wnid": None, "prob": 0.75}
    json.dumps(found, allow_nan=False)
