"""The settings of a search that nobody gives are those that He et al. published, size by size."""

from dataclasses import replace

import pytest

from core.costs.deit import DEIT, DeitGeometry
from core.costs.macs import count_macs
from core.costs.swin import SWIN
from core.families.families import FAMILIES
from core.single_path.published import published
from core.single_path.search import cost_weight, gate_rate
from tests.tiny import TINY
from tests.tiny_swin import SWIN as TINY_SWIN

KNOWN = DEIT | SWIN
DEIT_SMALL = DEIT["deit_small_patch16_224"]


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("deit_tiny_patch16_224", 1e-3),
        ("deit_small_patch16_224", 5e-4),
        ("deit_base_patch16_224", 1e-3),
        ("swin_tiny_patch4_window7_224", 5e-4),
        ("swin_small_patch4_window7_224", 5e-4),
        ("swin_base_patch4_window7_224", 5e-4),
    ],
)
def test_gates_learn_at_the_published_rate_of_their_size(name, rate) -> None:
    assert gate_rate(KNOWN[name]) == rate
    assert gate_rate(replace(KNOWN[name], classes=26, timm=name)) == rate, "what is classified is no matter of size"


@pytest.mark.parametrize(
    "geometry",
    [
        replace(DEIT_SMALL, img_size=112),
        replace(DEIT_SMALL, patch=14),
        replace(DEIT_SMALL, prefix_tokens=2, distilled=True),
    ],
)
def test_a_deit_small_is_one_whatever_photos_it_takes(geometry) -> None:
    assert gate_rate(geometry) == 5e-4


@pytest.mark.parametrize(("geometry", "rate"), [(TINY, 1e-3), (replace(DEIT_SMALL, depth=6), 1e-3), (TINY_SWIN, 5e-4)])
def test_gates_of_a_size_that_nobody_published_learn_at_their_familys_usual_rate(geometry, rate) -> None:
    assert gate_rate(geometry) == rate


@pytest.mark.parametrize("found", published().values(), ids=lambda found: found.name)
def test_the_cost_term_weighs_what_the_names_of_the_released_files_say(found) -> None:
    told = found.name.split("_")[2].removeprefix("l")  # l008 is 0.08, l04 is 0.4, l28 is 2.8, l200 is 20
    weight = float(f"0.{told[1:]}") if told.startswith("0") else float(told) / 10
    if found.name == "deit_bs_l006_t100":
        assert (weight, cost_weight(found.geometry)) == (0.06, 0.08), "one model, two searches"
    else:
        assert cost_weight(found.geometry) == weight


def test_a_size_that_nobody_published_has_the_smallest_ones_weight_by_the_square_of_its_cost() -> None:
    twice = DeitGeometry(224, 16, 192, 24, 3, 768, 1000)
    ratio = count_macs(twice).total / count_macs(DEIT["deit_tiny_patch16_224"]).total
    assert 1.9 < ratio < 2
    assert cost_weight(twice) == pytest.approx(20 / ratio**2)
    smaller = replace(SWIN["swin_tiny_patch4_window7_224"], depths=(2, 2, 2, 2))
    ratio = count_macs(smaller).total / count_macs(SWIN["swin_tiny_patch4_window7_224"]).total
    assert cost_weight(smaller) == pytest.approx(2.8 / ratio**2)


def test_the_temperature_of_the_head_mixing_is_that_of_the_release() -> None:
    searched = {name: one.SEARCH.alpha for name, one in FAMILIES.items() if "singlepath" in one.METHODS}
    assert searched == {"deit": 0.01, "gap": 0.01, "latent": 0.01, "swin": 100.0}
