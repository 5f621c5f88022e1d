"""Attribution maps: one scale, signs beside colours, and what is said of them."""

import numpy as np
import pytest
from PIL import Image

from core.inference.evidence import Evidence, Portion
from core.results.attributions import Attribution
from viz.attribution import (
    attribution_map,
    how_made,
    likeness,
    likeness_word,
    scale_bar,
    shared_scale,
    value_text,
    why_sentence,
)

VIEW = Image.new("RGB", (64, 64), "teal")
VALUES = np.array([[0.5, -0.4], [0.1, 0.0]])


def test_scale_is_one_for_all_maps_and_never_empty() -> None:
    assert shared_scale(VALUES, -2 * VALUES) == 1.0
    assert shared_scale(np.zeros((2, 2))) > 0


def test_signed_map_is_centred_on_zero_and_strong_cells_carry_their_sign() -> None:
    heat = attribution_map(VIEW, VALUES, 1.0, signed=True, unit="logits").data[0]
    assert (heat.zmin, heat.zmax) == (-1.0, 1.0)
    assert heat.colorscale[0][1] == "rgb(127,59,8)"  # PuOr begins in brown
    assert np.asarray(heat.text).tolist() == [["+", "\N{MINUS SIGN}"], ["", ""]]


def test_unsigned_map_begins_at_zero_without_signs_and_tells_percent() -> None:
    heat = attribution_map(VIEW, np.abs(VALUES), 0.5, signed=False, unit="%").data[0]
    assert (heat.zmin, heat.zmax) == (0, 0.5)
    assert heat.text is None
    assert np.asarray(heat.customdata)[0, 0] == "50.0 %"


def test_first_row_of_the_map_lies_on_the_top_of_the_photo() -> None:
    figure = attribution_map(VIEW, np.zeros((2, 4)), 1.0, signed=True, unit="logits")
    photo = figure.layout.images[0]
    assert (photo.x, photo.y, photo.sizex, photo.sizey) == (-0.5, -0.5, 4, 2)
    assert tuple(figure.layout.yaxis.range) == (1.5, -0.5)


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (0.4236, "logits", True, "+0.42 logits"),
        (-0.0523, "logits", True, "\N{MINUS SIGN}0.052 logits"),
        (0.0231, "%", False, "2.3 %"),
        (-0.0231, "%", True, "\N{MINUS SIGN}2.3 %"),
    ],
)
def test_values_are_said_with_their_unit(value: float, unit: str, signed: bool, text: str) -> None:
    assert value_text(value, unit, signed=signed) == text


def test_scale_bar_says_both_ends_in_words_and_numbers() -> None:
    figure = scale_bar(1.5, signed=True, unit="logits", words=("against cat", "for cat"))
    assert list(figure.layout.xaxis.tickvals) == [-1.5, 0, 1.5]
    assert "against cat" in figure.layout.xaxis.ticktext[0]
    assert "+1.50 logits" in figure.layout.xaxis.ticktext[2]


def test_likeness_is_the_rank_correlation() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert likeness(a, 10 * a**3) == pytest.approx(1.0)
    assert likeness(a, -a) == pytest.approx(-1.0)
    # ranks 0 1 2 3 and 0.5 0.5 2 3: covariance 4.5, variances 5 and 4.5
    assert likeness(a, np.array([[0.0, 0.0], [1.0, 2.0]])) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)
    assert likeness(a, np.ones((2, 2))) is None


def test_what_was_held_passed_over_and_missed_is_said() -> None:
    gradients = Attribution(VALUES, "gradients", 1, rise=0.25, delta=-0.05, frozen_selectors=3, seconds=1.2)
    said = how_made(gradients)
    assert "+0.25 logits" in said
    assert "convergence error of 20 %" in said
    assert "3 selectors are held" in said
    assert "1.2 s" in said
    rollout = Attribution(np.abs(VALUES), "rollout", None, passed_over=(0, 10))
    assert "Blocks 1, 11 are no attention any more and passed over" in how_made(rollout)


@pytest.mark.parametrize(
    ("alike", "word"),
    [(1.0, "nearly alike"), (0.9, "nearly alike"), (0.7, "much alike"), (0.4, "somewhat alike"), (-1, "differently")],
)
def test_a_rank_correlation_has_a_word(alike: float, word: str) -> None:
    assert likeness_word(alike) == word


def test_evidence_of_two_models_is_said_by_what_one_of_them_keeps() -> None:
    dense = Evidence(Portion(70, 0.91), Portion(186, 0.09), Portion(0, 0.0))
    pruned = Evidence(Portion(70, 0.88), Portion(186, 0.12), Portion(0, 0.0))
    names = ("Dense", "Pruned")
    assert why_sentence("They agree: ", "koala", names, ["Pruned"], [dense, pruned]) == (
        "They agree: 91 % of the evidence for “koala” in Dense and 88 % in Pruned lies on the 70 patches that Pruned "
        "keeps (27 % of all), 9 % and 12 % on the 186 that it folds into packages."
    )
    assert why_sentence("", "koala", names, ["Pruned"], [None, pruned]) == (
        "In Dense no patch speaks for “koala”, so there is no evidence to divide."
    )


def test_where_both_models_drop_patches_each_is_said_by_its_own() -> None:
    a = Evidence(Portion(1, 0.5), Portion(2, 0.3), Portion(1, 0.2))
    b = Evidence(Portion(4, 1.0), Portion(0, 0.0), Portion(0, 0.0))
    assert why_sentence("", None, ("A", "B"), ["A", "B"], [a, b]) == (
        "50 % of the attention in A lies on the 1 patch that it keeps, 30 % on the 2 that it folds into packages, "
        "20 % on the 1 that it drops; 100 % of the attention in B lies on the 4 patches that it keeps."
    )
