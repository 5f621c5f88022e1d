"""When an answer says so little that the photo probably shows none of the classes, for any number of classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.inference.confidence import (
    LEAST_SHARE,
    information_share,
    information_shares,
    knows_none,
    least_share_of,
    spread,
)
from core.results import ClassName, Prediction


def prediction(*probs: float) -> Prediction:
    return Prediction(np.array(probs), tuple(ClassName(None, str(i)) for i in range(len(probs))))


def even(over: int, classes: int) -> Prediction:
    """The same probability for some of the classes, and none for the others."""
    return prediction(*[1 / over] * over, *[0] * (classes - over))


def leading(first: float, classes: int) -> Prediction:
    """One class ahead, and the same probability for each of the others."""
    return prediction(first, *[(1 - first) / (classes - 1)] * (classes - 1))


def test_the_information_of_an_answer_is_the_share_of_certainty_that_it_has() -> None:
    assert information_share(even(8, 8)) == pytest.approx(0)
    assert information_share(even(4, 8)) == pytest.approx(1 / 3)  # half of eight ruled out: 1 of 3 bits
    assert information_share(even(1, 8)) == 1
    assert information_share(prediction(0.75, 0.25)) == pytest.approx(1 - 0.811278, abs=1e-6)
    assert information_share(prediction(1)) == 1  # one class alone
    assert spread(even(5, 9)) == pytest.approx(5)
    assert spread(prediction(0.5, 0.25, 0.25)) == pytest.approx(2**1.5)


@pytest.mark.parametrize(("classes", "little", "enough"), [(2, 2, 1), (26, 14, 12), (119, 44, 43), (1000, 231, 229)])
def test_an_answer_over_more_than_its_number_of_classes_allows_knows_none_of_them(classes, little, enough) -> None:
    assert knows_none(even(little, classes))
    assert not knows_none(even(enough, classes))


@pytest.mark.parametrize(
    ("classes", "little", "enough"),
    # h(0.75) = 0.81 of 1 bit, h(0.8) = 0.72; h(0.4) + 0.6 log2 25 = 3.76 of 4.70 bits, h(0.43) + 0.57 log2 25 = 3.63
    [(2, 0.75, 0.8), (26, 0.4, 0.43), (119, 0.3, 0.36), (1000, 0.3, 0.33)],
)
def test_a_class_that_leads_a_flat_rest_is_an_answer_once_it_leads_by_enough(classes, little, enough) -> None:
    assert knows_none(leading(little, classes))
    assert not knows_none(leading(enough, classes))


@pytest.mark.parametrize("classes", [2, 26, 119, 1000])
def test_near_certainty_is_an_answer_and_chance_is_none_for_any_number_of_classes(classes) -> None:
    assert not knows_none(leading(0.99, classes))
    assert knows_none(even(classes, classes))


@pytest.mark.parametrize("classes", [2, 26, 119, 1000])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_first_answer_next_to_chance_always_counts(classes, seed) -> None:
    bound = classes ** (LEAST_SHARE - 1)
    wild = np.random.default_rng(seed).random(classes)
    room = min(1.0, 0.99 * (bound * classes - 1))  # as uneven as keeps the likeliest below the bound
    probs = 1 + room * (wild - wild.mean())
    probs /= probs.sum()
    assert probs.max() < bound
    assert knows_none(prediction(*probs))


def test_a_yes_or_no_and_many_of_them_together_are_held_to_the_same() -> None:
    for sure in (0.7, 0.76, 0.78, 0.9):
        one = prediction(sure, 1 - sure)
        many = prediction(*np.multiply.outer(one.probs, np.multiply.outer(one.probs, one.probs)).ravel())
        assert information_share(many) == pytest.approx(information_share(one))
        assert knows_none(many) == knows_none(one)


def test_a_calibrated_model_is_let_say_of_one_known_photo_in_ten_that_it_knows_nothing() -> None:
    """Eleven answers of two classes, each surer than the one before: the second marks the line."""
    firsts = np.linspace(0.5, 1, 11)
    answers = np.stack([firsts, 1 - firsts], axis=1)
    least = least_share_of(answers)
    assert least == pytest.approx(information_shares(answers)[1])
    assert [knows_none(Prediction(each, prediction(0.5, 0.5).classes, least)) for each in answers] == [
        True,
        *[False] * 10,
    ]
    assert knows_none(prediction(0.75, 0.25))  # without the calibration the line is elsewhere
