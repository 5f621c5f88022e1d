"""Settings of a model: as flags, as words of a row, and what sliders offer of them."""

import argparse
from dataclasses import fields

import pytest

from core.commands.flags import add_model
from core.config import (
    BUDGET_RANGE,
    KEEP_RANGE,
    MASS_RANGE,
    SETTINGS,
    THRESHOLD_RANGE,
    ModelSpec,
    Range,
    with_words,
    words_of,
)

DENSE = 4_540_695_168
"""Multiply-adds of a DeiT-S."""
WORDS = {
    "--budget 60%": ModelSpec("a", budget=60 * DENSE / 100),
    "--budget 70.5%": ModelSpec("a", budget=70.5 * DENSE / 100),
    "--budget 2.6": ModelSpec("a", budget=2.6e9),
    "--keep 0.7,0.49,0.343": ModelSpec("a", keep=(0.7, 0.49, 0.343)),
    "--threshold 0.25": ModelSpec("a", threshold=0.25),
    "--keep 0.7,0.5 --blocks 3,6": ModelSpec("a", keep=(0.7, 0.5), blocks=(3, 6)),
    "--blocks 3,6,9 --mass 0.9": ModelSpec("a", blocks=(3, 6, 9), mass=0.9),
    "--heads 2,4,8 --arch pit_s --img-size 192": ModelSpec("a", heads=(2, 4, 8), arch="pit_s", img_size=192),
    "": ModelSpec("a"),
}


@pytest.mark.parametrize(("text", "spec"), list(WORDS.items()))
def test_words_are_read_as_they_are_written(text: str, spec: ModelSpec) -> None:
    assert with_words(ModelSpec("a"), text.split(), DENSE) == spec
    assert " ".join(words_of(spec, DENSE)) == text


@pytest.mark.parametrize("text", ["--keep", "--keep 0.7,x", "--method tome", "--budget %", "0.7", "--keep 0.7 --mass"])
def test_what_are_no_settings_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_words(ModelSpec("a"), text.split(), DENSE)


def test_every_setting_is_a_field_and_a_flag_and_every_field_but_name_and_packaging_a_setting() -> None:
    keys = [setting.key for setting in SETTINGS]
    assert sorted([*keys, "name", "packaging"]) == sorted(field.name for field in fields(ModelSpec))
    parser = argparse.ArgumentParser()
    add_model(parser)
    flags = {flag: action.dest for action in parser._actions for flag in action.option_strings}
    assert {setting.flag: setting.key for setting in SETTINGS}.items() <= flags.items()


def test_a_slider_has_these_values() -> None:
    assert KEEP_RANGE.values[:3] == (0.1, 0.15, 0.2)
    assert KEEP_RANGE.values[-1] == 1.0
    assert len(KEEP_RANGE.values) == 19
    assert BUDGET_RANGE.values == tuple(range(1, 101))
    assert THRESHOLD_RANGE.values[-2:] == (0.94, 0.95)
    assert len(MASS_RANGE.values) == 71
    for offered in (KEEP_RANGE, THRESHOLD_RANGE, MASS_RANGE, BUDGET_RANGE):
        assert offered.usual in offered.values


@pytest.mark.parametrize(
    ("asked", "found"), [(-9.0, 0.0), (0.3, 0.25), (0.4, 0.5), (0.75, 0.75), (9.0, 1.0), (float("inf"), 1.0)]
)
def test_the_nearest_value_is_found(asked: float, found: float) -> None:
    assert Range(0.0, 1.0, 0.25, 0.5).nearest(asked) == found
