"""When selectors count as trained, and what a run says of them."""

import pytest

from core.training.verdict import is_met, is_trained, verdict_sentences

RECORD = {
    "asked_keep": [0.5, 0.25],
    "val_kept": [0.512, 0.243],
    "asked_macs": 0.5,
    "val_macs": 0.507,
    "val_top1": 0.731,
    "random_top1": 0.70,
    "attention_top1": 0.715,
    "gain_over_random": 0.031,
    "gain_interval": 0.014,
    "trained": True,
}


@pytest.mark.parametrize(
    ("kept", "gain", "trained"),
    [
        ((0.5, 0.25), 0.02, True),
        ((0.52, 0.23), 0.02, True),  # two points
        ((0.521, 0.25), 0.02, False),
        ((0.5, 0.2), 0.02, False),
        ((0.5, 0.25), 0.01, False),  # no more than chance
        ((0.5, 0.25), -0.02, False),
    ],
)
def test_selectors_count_as_trained_within_two_points_of_the_target_and_beyond_chance(kept, gain, trained) -> None:
    assert is_trained((0.5, 0.25), kept, gain, margin=0.01) is trained


def test_targets_can_be_met_without_beating_anything() -> None:
    assert is_met((0.5,), (0.49,))
    assert not is_trained((0.5,), (0.49,), gain=0.0, margin=0.01)


def test_a_run_ends_with_what_was_asked_kept_and_gained() -> None:
    assert verdict_sentences(RECORD) == (
        "Asked: 50.0, 25.0 % of the patches after the selectors, 50.0 % of the MACs; kept on validation photos: "
        "51.2, 24.3 %, 50.7 %. Top-1 73.10 %; as many patches at random 70.00 %, by attention 71.50 %, on the "
        "same weights: +3.10 ± 1.40 points over random. The selectors count as trained."
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"gain_over_random": 0.001}, "they do not beat random dropping"),
        ({"val_kept": [0.6, 0.25]}, "miss their targets"),
    ],
)
def test_selectors_that_are_not_trained_are_told_why(changed, why) -> None:
    assert verdict_sentences(RECORD | changed | {"trained": False}).endswith(f"{why}.")


def test_a_latency_limit_is_answered_in_milliseconds() -> None:
    said = verdict_sentences(RECORD | {"asked_ms": 6.0, "achieved_ms": 5.987})
    assert "Limit 6 ms; what is kept is predicted to take 5.99 ms." in said
