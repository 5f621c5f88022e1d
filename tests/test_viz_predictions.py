"""Top-5 of two models and how far they agree, on numbers worked out by hand."""

import math

import numpy as np
import pytest

from core.inference.agreements import agreement
from core.inference.common_classes import CommonClasses
from core.results import ClassName, Prediction
from viz.predictions import (
    agreement_sentence,
    common_sentence,
    distance_word,
    headline,
    sureness_sentence,
    top5_alone,
    top5_pair,
    top5_union,
)

NAMES = tuple(ClassName(None, name) for name in ("ant", "bee", "cat", "dog", "elk", "fox", "gnu"))


def prediction(*probs: float) -> Prediction:
    return Prediction(np.array(probs), NAMES[: len(probs)])


def test_kl_is_zero_for_equal_predictions_and_rank_one() -> None:
    same = prediction(0.7, 0.3)
    assert agreement(same, same) == agreement(same, prediction(0.7, 0.3))
    assert agreement(same, same).kl_nats == 0
    assert agreement(same, same).rank_in_b == 1


def test_kl_is_taken_from_a_to_b() -> None:
    found = agreement(prediction(0.5, 0.5), prediction(0.25, 0.75))
    assert found.kl_nats == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_a_changed_mind_is_said_with_both_answers_and_the_rank() -> None:
    a, b = prediction(0.6, 0.3, 0.1), prediction(0.1, 0.3, 0.6)
    assert not agreement(a, b).same_top1
    assert agreement(a, b).rank_in_b == 3
    # KL: 0.6 ln 6 + 0.1 ln (1/6) = 0.896
    assert agreement_sentence(a, b) == (
        "Dense says ant (60 %), pruned cat (60 %). Their probabilities are far apart (KL 0.896 nats)."
    )


def test_agreement_is_said_with_how_sure_each_is_and_not_as_if_it_were_right() -> None:
    a, b = prediction(0.5, 0.3, 0.2), prediction(0.45, 0.35, 0.2)
    assert agreement_sentence(a, b) == (
        "Both say ant: dense 50 %, pruned 45 %, unsure. Their probabilities are nearly the same (KL 0.006 nats)."
    )


@pytest.mark.parametrize(
    ("kl", "word"), [(0.0, "nearly the same"), (0.01, "much alike"), (0.1, "somewhat apart"), (0.5, "far apart")]
)
def test_a_distance_has_a_word(kl: float, word: str) -> None:
    assert distance_word(kl) == word


def test_predictions_over_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="same classes"):
        agreement(prediction(0.5, 0.5), prediction(0.5, 0.3, 0.2))


def test_bars_show_the_union_of_both_top5_in_the_order_of_a() -> None:
    a = prediction(0.3, 0.25, 0.2, 0.12, 0.08, 0.03, 0.02)
    b = prediction(0.02, 0.03, 0.08, 0.12, 0.2, 0.25, 0.3)
    figure = top5_pair(a, b)
    assert list(figure.data[0].y) == ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]
    assert list(figure.data[1].x) == list(b.probs)
    assert figure.data[0].marker.pattern.shape  # A is hatched, B is not: told apart without colour
    assert not figure.data[1].marker.pattern.shape


def test_rank_changes_are_written_where_there_are_some() -> None:
    figure = top5_pair(prediction(0.6, 0.3, 0.1), prediction(0.3, 0.6, 0.1), moves=True)
    assert list(figure.data[1].text) == ["30 % · rank 1 → 2", "60 % · rank 2 → 1", "10 %"]


def test_two_classes_of_one_name_are_told_apart_and_keep_a_bar_each() -> None:
    names = (ClassName("n1", "crane"), ClassName("n2", "crane"), ClassName(None, "kite"))
    a, b = Prediction(np.array([0.5, 0.3, 0.2]), names), Prediction(np.array([0.2, 0.3, 0.5]), names)
    assert top5_union(a, b) == {"crane (n1)": 0, "crane (n2)": 1, "kite": 2}
    assert list(top5_pair(a, b).data[0].x) == [0.5, 0.3, 0.2]


def test_chosen_class_stands_out_and_no_other() -> None:
    figure = top5_pair(prediction(0.6, 0.3, 0.1), prediction(0.6, 0.3, 0.1), chosen="bee")
    assert list(figure.layout.yaxis.ticktext) == ["ant", "<b>▸ bee</b>", "cat"]


def test_one_model_alone_has_the_bars_that_it_has_beside_another() -> None:
    said = prediction(0.2, 0.3, 0.5)
    (alone,), (_, beside) = top5_alone(said).data, top5_pair(said, said).data
    assert (tuple(alone.y), tuple(alone.x), alone.name) == (("cat", "bee", "ant"), (0.5, 0.3, 0.2), "Pruned")
    assert (tuple(beside.y), tuple(beside.x)) == (tuple(alone.y), tuple(alone.x))


def test_the_headline_and_its_line_say_each_fact_once() -> None:
    a, b, names = prediction(0.6, 0.3, 0.1), prediction(0.1, 0.45, 0.45), ("Dense", "Pruned")
    assert headline(a, b, names) == "Dense says ant, Pruned says bee"
    assert sureness_sentence(a, b, names) == (
        "Dense 60 %; Pruned 45 %, unsure. Dense's answer has rank 3 of 3 in Pruned."
    )
    assert headline(a, a, names) == "Both say ant"
    assert sureness_sentence(a, a, names) == "Dense 60 %; Pruned 60 %."


def test_models_of_other_classes_say_on_which_they_are_compared() -> None:
    names, every = ("A", "B"), tuple(range(26))
    assert common_sentence(CommonClasses(every, every, (26, 26)), names) is None
    assert common_sentence(CommonClasses(every, every[::-1], (26, 26)), names) is None
    assert common_sentence(CommonClasses(every, every, (1119, 26)), names).startswith(
        "Compared on the 26 classes that both know (A knows 1,119, B 26)."
    )
    assert common_sentence(CommonClasses((), (), (3, 4)), names).startswith("They have no class in common")
    assert common_sentence(CommonClasses((1,), (2,), (3, 4)), names).startswith("They have only one class in common")
