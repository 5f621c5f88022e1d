"""The photo with pruned patches, the packages and the tokens per block, from a trace made by hand."""

import numpy as np
import pytest
from PIL import Image

from core.results import ClassName, MacCount, Prediction, TokenTrace
from viz.theme import rgb, selector_look
from viz.tokens import class_badge, package_swatch, pruned_photo, stage_sentence, tokens_per_block

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
    np.testing.assert_allclose(background, GREY * 0.22, atol=1)  # darkened by 78 %, no tint
    tint = np.median(now.reshape(-1, 3), axis=0)
    red, _, blue = rgb(selector_look(0).colour)
    assert (tint[2] - tint[0]) * (blue - red) > 0


def test_a_pruned_patch_carries_a_hatch_besides_its_colour(photo, trace) -> None:
    for stage in (1, 2):
        patch = patches(pruned_photo(photo, trace, stage, 80))[stage - 1]
        assert patch.std(axis=(0, 1)).max() > 10  # a plain fill of a plain photo would have none


def test_hatches_of_the_three_packages_differ_without_colour() -> None:
    edges = [np.asarray(package_swatch(k, 64).convert("L"), float)[8:56, 8:56] for k in range(3)]
    shapes = [np.where(e > np.median(e), 1.0, 0.0) for e in edges]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(shapes[i] - shapes[j]).mean() > 0.1


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
