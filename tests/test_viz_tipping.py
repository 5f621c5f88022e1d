"""Where an answer flips, as a chart, sentences and a picture, from traces made by hand."""

import numpy as np
import pytest
from PIL import Image

from core.inference.tipping import LostPatch, Tipped, flip
from tests.test_core_tipping import ALL, trace
from viz.theme import MARK, rgb
from viz.tipping import flip_chart, flip_sentence, tipped_photo, tipped_sentence

FEW = [[1, 0, 0, 1], [1, 0, 0, 0]]


@pytest.fixture
def traces() -> dict:
    return {0.4: trace(FEW, 0.3), 0.6: trace(ALL, 0.7), 1.0: trace(ALL, 0.9)}


def test_the_chart_has_the_answer_and_the_best_other_and_marks_the_flip(traces) -> None:
    drawing = flip_chart(traces, flip(traces))
    answer, other = drawing.data
    assert list(answer.x) == [40, 60, 100]
    assert list(answer.y) == pytest.approx([0.3, 0.7, 0.9])
    assert list(other.y) == pytest.approx([0.7, 0.3, 0.1])
    assert answer.name == "cat"
    assert set(other.customdata) == {"dog"}
    assert drawing.layout.shapes[0].x0 == 40
    assert not flip_chart({0.6: trace(ALL, 0.7), 1.0: trace(ALL, 0.9)}, None).layout.shapes


def test_the_sentence_says_setting_answers_and_runs(traces) -> None:
    assert flip_sentence(traces, flip(traces)) == (
        "The answer flips at a keep ratio of 40 %, from cat to dog (70 %). At 60 % and each step above it is still cat "
        "(3 runs of the model)."
    )
    traces[0.2] = trace(FEW, 0.8)
    assert flip_sentence(traces, flip(traces)).endswith("Further down it says cat again at 20 %.")
    held = {0.5: trace(ALL, 0.7), 1.0: trace(ALL, 0.9)}
    assert flip_sentence(held, None) == (
        "It does not fail: in 2 runs of the model the answer is cat, down to a keep ratio of 50 %."
    )


def test_the_patch_is_named_by_row_and_column_with_what_its_return_does(traces) -> None:
    right, wrong = traces[0.6], traces[0.4]
    said = tipped_sentence(right, wrong, Tipped(LostPatch(2, range(2)), 0.8, restored=True), 3)
    assert "row 2, column 1" in said
    assert "takes cat from 30 % to 80 %, and cat comes first again" in said
    assert "3 patches were lost" in said
    weak = tipped_sentence(right, wrong, Tipped(LostPatch(2, range(2)), 0.4, restored=False), 1)
    assert "from 30 % to 40 %, though that is not enough" in weak
    assert "1 patch was lost" in weak
    none = tipped_sentence(right, wrong, Tipped(LostPatch(2, range(2)), 0.3, restored=False), 2)
    assert none.startswith("None of the 2 patches")


def test_the_picture_shows_the_patch_clear_in_a_frame_and_the_other_lost_ones_dark(traces) -> None:
    grey = Image.new("RGB", (80, 80), (200, 200, 200))
    picture = np.asarray(tipped_photo(grey, traces[0.4], Tipped(LostPatch(2, range(2)), 0.8, restored=True), 80))
    assert picture[60, 20].tolist() == [200, 200, 200]
    assert picture[40, 20].tolist() == list(rgb(MARK))
    assert picture[:30, 50:].mean() < 150, "row 1, column 2 left too"
