"""Which classes two models both know, and predictions over those, worked out by hand."""

import numpy as np
import pytest

from core.inference.agreements import agreement
from core.inference.common_classes import common_classes, on_common
from core.results import ClassName, Prediction


def classes(*names: str) -> tuple[ClassName, ...]:
    """`n1 cat` has a WordNet id, `cat` has none."""
    parts = [name.rpartition(" ") for name in names]
    return tuple(ClassName(wnid or None, label) for wnid, _, label in parts)


def pairs(a: tuple[ClassName, ...], b: tuple[ClassName, ...]) -> list[tuple[int, int]]:
    found = common_classes(a, b)
    assert found.known == (len(a), len(b))
    return list(zip(found.a, found.b, strict=True))


def test_classes_match_by_wordnet_id_whatever_their_labels_and_their_order() -> None:
    a, b = classes("n1 cat", "n2 dog", "n3 crane", "n4 crane"), classes("n4 crane", "n9 dog", "n1 tabby")
    assert pairs(a, b) == [(0, 2), (3, 0)]  # n2 and n9 are both called dog, and are not the same


def test_a_label_matches_where_one_of_the_two_has_no_id() -> None:
    assert pairs(classes("n1 cat", "n2 dog"), classes("dog", "owl", "cat")) == [(0, 2), (1, 0)]
    assert pairs(classes("cafe\u0301"), classes("café")) == [(0, 0)]


def test_a_label_of_several_classes_matches_none_of_them_unless_ids_leave_one() -> None:
    cranes = classes("n3 crane", "n4 crane", "n1 cat")
    assert pairs(cranes, classes("crane", "cat")) == [(2, 1)]
    assert pairs(cranes, classes("n3 crane", "crane", "cat")) == [(0, 0), (1, 1), (2, 2)]


def test_equal_lists_are_common_as_a_whole_and_nothing_is_rescaled() -> None:
    names = classes("crane", "crane", "cat")
    found = common_classes(names, names)
    assert found.are_all
    a, b = (Prediction(np.array(probs), names) for probs in ([0.5, 0.3, 0.2], [0.1, 0.2, 0.7]))
    assert on_common(a, b, found) == (a, b)
    assert not common_classes(names, names[:2]).are_all
    assert not common_classes(classes("cat", "dog"), classes("dog", "cat")).are_all


def test_probabilities_are_shared_out_among_the_common_classes_in_the_order_of_a() -> None:
    names_a, names_b = classes("n1 cat", "n2 dog", "n3 owl"), classes("n8 elk", "n3 owl", "n1 cat")
    a, b = Prediction(np.array([0.2, 0.5, 0.3]), names_a), Prediction(np.array([0.6, 0.1, 0.3]), names_b)
    common = common_classes(names_a, names_b)
    assert common.comparable
    left, right = on_common(a, b, common)
    assert left.classes == right.classes == classes("n1 cat", "n3 owl")
    np.testing.assert_allclose(left.probs, [0.4, 0.6])  # 0.2 and 0.3 of 0.5
    np.testing.assert_allclose(right.probs, [0.75, 0.25])  # 0.3 and 0.1 of 0.4
    found = agreement(left, right)
    assert (found.same_top1, found.rank_in_b) == (False, 2)
    assert found.kl_nats == pytest.approx(0.4 * np.log(0.4 / 0.75) + 0.6 * np.log(0.6 / 0.25))


def test_models_of_one_common_class_or_none_cannot_be_compared() -> None:
    one, none = (common_classes(classes("cat", "dog"), other) for other in (classes("cat", "elk"), classes("elk")))
    assert not one.comparable
    assert not none.comparable
    a = Prediction(np.array([0.5, 0.5]), classes("cat", "dog"))
    with pytest.raises(ValueError, match="no class in common"):
        on_common(a, Prediction(np.array([1.0]), classes("elk")), none)
