"""Groups on the photo have borders and mean colours; sentences and tables say what others did at the same cost."""

import numpy as np
import pytest
from PIL import Image

from core.baselines.plans import Plan
from core.baselines.trace import PeerTrace, overlap
from core.costs.deit import DeitGeometry
from core.results import ClassName, MacCount, Prediction
from viz.peers import TINT, Way, grouped_photo, peer_photo, peer_sentence, plan_sentence, way_caption, ways_table

GEOMETRY = DeitGeometry(img_size=4, patch=2, width=8, depth=2, heads=2, ffn_hidden=8, classes=2)
CLASSES = (ClassName(None, "cat"), ClassName(None, "dog"))
MACS = MacCount(1_000_000, 0, 0, 0, 0, 0)
COLOURS = np.array([[[200, 0, 0], [100, 0, 0]], [[0, 0, 250], [0, 80, 0]]], np.uint8)
CELL = 60


def view() -> Image.Image:
    """2 x 2 patches, each of one colour."""
    return Image.fromarray(COLOURS.repeat(CELL, axis=0).repeat(CELL, axis=1))


def prediction(first: float) -> Prediction:
    return Prediction(np.array([first, 1 - first]), CLASSES)


def trace(peer, amounts, groups, left, blocks=(0, 1)) -> PeerTrace:
    plan = Plan(peer, GEOMETRY, blocks, amounts)
    return PeerTrace(plan, np.array(groups), np.array(left), prediction(0.9), MACS, 2_000_000)


MERGED = trace("tome", (1, 1), [[1, 1, 2, 3], [1, 1, 1, 2]], [0, 0, 1, -1])
FUSED = trace("evit", (2,), [[1, 2, 3, 4], [1, 3, 2, 3]], [-1, 1, -1, 1], (1,))
DROPPED = trace("random-dense", (3, 1), [[-1, 1, 2, 3], [-1, -1, 1, -1]], [0, 1, -1, 1])


def test_a_group_has_the_mean_colour_of_its_patches_and_a_patch_alone_is_the_photo() -> None:
    picture = np.asarray(grouped_photo(view(), np.array([1, 1, 2, 3]), (2, 2), side=2 * CELL))
    inside = [picture[y, x].tolist() for y, x in ((30, 30), (30, 90), (90, 30), (90, 90))]
    mean = np.array([150, 0, 0])
    wanted = [TINT * mean + (1 - TINT) * COLOURS[0, x] for x in (0, 1)]
    np.testing.assert_allclose(inside[:2], wanted, atol=1)
    assert inside[2:] == [[0, 0, 250], [0, 80, 0]]


def test_borders_stand_around_groups_and_not_inside_them_nor_between_patches_alone() -> None:
    picture = np.asarray(grouped_photo(view(), np.array([1, 1, 2, 3]), (2, 2), side=2 * CELL)).astype(int)
    assert picture[CELL, 30].tolist() == [255, 255, 255], "below the group, light on dark"
    assert picture[CELL - 2, 30].tolist() == [17, 24, 39]
    assert picture[30, CELL].tolist() == picture[30, CELL + 9].tolist(), "none inside the group"
    assert picture[90, CELL].tolist() == [0, 80, 0], "none between patches alone"
    assert picture[90, CELL - 1].tolist() == [0, 0, 250]


def test_groups_that_do_not_touch_get_a_border_each() -> None:
    picture = np.asarray(grouped_photo(view(), np.array([1, 2, 3, 1]), (2, 2), side=2 * CELL))
    for at in ((CELL, 30), (30, CELL), (CELL, 90), (90, CELL)):
        assert picture[at].tolist() == [255, 255, 255]


def test_a_picture_is_of_the_block_that_it_is_asked_for() -> None:
    photo = np.asarray(view())
    first, second = (np.asarray(peer_photo(view(), DROPPED, block, side=2 * CELL)) for block in (0, 1))
    assert (first[:CELL, CELL:] == photo[:CELL, CELL:]).all()
    assert (second[:CELL, CELL:] != photo[:CELL, CELL:]).any()
    assert (second[CELL:, :CELL] == photo[CELL:, :CELL]).all(), "the patch that stays is the photo"
    assert (np.asarray(peer_photo(view(), FUSED, 0, side=2 * CELL)) == photo).all(), "nothing has happened yet"
    assert (np.asarray(peer_photo(view(), MERGED, 0)) != np.asarray(peer_photo(view(), MERGED, 1))).any()


def test_sentences_say_what_happened_by_a_block() -> None:
    assert peer_sentence(MERGED, 0) == "2 of 4 patches are in 1 group, the largest of 2."
    assert peer_sentence(MERGED, 1) == "3 of 4 patches are in 1 group, the largest of 3."
    assert peer_sentence(FUSED, 0) == "4 of 4 patches are left."
    assert peer_sentence(FUSED, 1) == "2 of 4 patches are left, the others are fused."
    assert peer_sentence(DROPPED, 1) == "1 of 4 patches are left, the others are gone."
    assert plan_sentence(MERGED.plan) == "ToMe merges 1, 1 tokens away in blocks 1 to 2."
    assert "2 tokens in blocks 2 and" in plan_sentence(FUSED.plan)
    assert "3, 1 patches from blocks 1, 2 on" in plan_sentence(DROPPED.plan)


def test_table_holds_agreement_cost_and_overlap_against_ours() -> None:
    ours = np.array([True, True, False, False])
    ways = [
        Way("The selectors", "the same", prediction(0.8), 2_000_000, ours),
        Way("EViT", "dense", prediction(0.2), 1_000_000, FUSED.alone),
    ]
    table = ways_table(prediction(0.8), ours, ways)
    assert table["Same as dense"] == ["yes", "no"]
    assert table["KL from dense, nats"] == pytest.approx([0, 0.8 * np.log(4) - 0.2 * np.log(4)])
    assert table["MACs, % of ours"] == [100, 50]
    assert table["Patches alone at the end"] == [2, 2]
    assert table["Overlap with ours, %"] == pytest.approx([100, 100 / 3])
    assert way_caption(ways[1]) == "**EViT:** dog, 80 %; 1.00 M MACs."


def test_overlap_is_intersection_over_union() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 1], bool)
    assert overlap(a, b) == 0.25
    assert overlap(a, a) == 1
    assert overlap(a & False, b & False) == 1


def test_a_trace_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="never left"):
        trace("random-dense", (3,), [[1, 2, 3, -1]] * 2, [-1] * 4, (1,))
    with pytest.raises(ValueError, match="for 4 patches"):
        trace("random-dense", (3,), [[1, 2, 3]] * 2, [-1] * 3, (1,))
