"""When an answer says so little that the photo probably shows none of the classes."""

import numpy as np
import pytest

from core.confidence import information_bits, knows_none
from core.results import ClassName, Prediction


def prediction(*probs: float) -> Prediction:
    return Prediction(np.array(probs), tuple(ClassName(None, str(i)) for i in range(len(probs))))


def test_the_information_of_an_answer_is_what_it_rules_out() -> None:
    assert information_bits(prediction(*[1 / 8] * 8)) == pytest.approx(0)
    assert information_bits(prediction(*[1 / 4] * 4, *[0] * 4)) == pytest.approx(1)  # half of eight ruled out
    assert information_bits(prediction(1, *[0] * 7)) == pytest.approx(3)


def test_an_answer_over_more_than_half_of_the_classes_knows_none_of_them() -> None:
    assert knows_none(prediction(*[1 / 5] * 5, *[0] * 3))
    assert not knows_none(prediction(*[1 / 3] * 3, *[0] * 5))


@pytest.mark.parametrize("count", [3, 24, 1000])
def test_a_first_answer_below_twice_chance_always_counts(count: int) -> None:
    rng = np.random.default_rng(0)
    probs = 1 + rng.random(count) * 0.9
    probs /= probs.sum()
    assert probs.max() < 2 / count
    assert knows_none(prediction(*probs))
