"""Keep schedules: published counts, torch's own counter, and every schedule there is as a check of the fitted one."""

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from core.__main__ import main
from core.costs.deit import DEIT, DeitGeometry
from core.costs.geometry import Geometry
from core.costs.macs import attention_macs, count_macs, ffn_macs, package_macs, selector_macs
from core.errors import InputError
from core.families import deit
from core.soft_tokens.decide import top_share
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import FITTED, RELEASE_BLOCKS, RELEASE_TARGETS, fit_keep, geometry_of, schedule_macs
from core.soft_tokens.stages import image_macs
from tests.tiny import TINY, images, token_model

TINY_224, SMALL_224 = DEIT["deit_tiny_patch16_224"], DEIT["deit_small_patch16_224"]
PUBLISHED = {
    "deit_tiny_1.0g": 1.0,
    "deit_tiny_0.9g": 0.9,
    "deit_small_3.9g": 3.9,
    "deit_small_2.6g": 2.6,
    "deit_tiny_0.9g_early": 0.9,
    "deit_small_2.6g_early": 2.6,
    "lvvit_s_4.3g": 4.3,
}
"""G multiply-adds after soft token pruning, arXiv:2112.13890."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_fitted_schedule_costs_what_was_published(name) -> None:
    known = FITTED[name]
    found = schedule_macs(geometry_of(known), known.blocks, known.keep).total / 1e9
    assert found == pytest.approx(PUBLISHED[name], abs=0.01)
    assert known.published_gmacs == PUBLISHED[name]


def test_every_published_count_has_its_schedule() -> None:
    assert FITTED.keys() - {"swin_tiny_3.5g"} == PUBLISHED.keys()


def test_a_swin_tiny_of_45_g_comes_down_to_35_at_most() -> None:
    known = FITTED["swin_tiny_3.5g"]
    found, dense = schedule_macs(geometry_of(known), known.blocks, known.keep), count_macs(geometry_of(known))
    assert (round(dense.total / 1e9, 2), round(found.total / 1e9, 2)) == (4.49, 3.49)
    # Full windows, and what is left in one more; the first of the five is shifted: a window of 49, two parts of 28, 7.
    pairs = (49**2 + 2 * 28**2 + 7**2 + 225, 2 * 49**2 + 14**2 + 225, *[49**2 + 14**2 + 2 * 63 + 1] * 3)
    left = [
        attention_macs(tokens, 384, pairs=some) + ffn_macs(tokens, 384, 1536)
        for tokens, some in zip((113, 113, 64, 64, 64), pairs, strict=True)
    ]
    whole = attention_macs(196, 384, 49) + ffn_macs(196, 384, 1536)
    saved = 5 * whole - sum(left)
    package = attention_macs(1, 768, pairs=2 * 49 + 1) + ffn_macs(1, 768, 3072)  # in each of the two last blocks
    assert found.total == dense.total - saved + 8 * 384**2 + 2 * package + found.selectors
    assert known.published_gmacs is None


def test_the_known_schedules_are_listed_with_the_release_beside_them(capsys) -> None:
    assert main(["schedule", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["schedules"]}
    assert round(rows["deit_small_release"]["macs"] / 1e9, 2) == 2.48
    assert rows["deit_small_release"]["published_gmacs"] is None
    assert {name: round(rows[name]["macs"] / 1e9, 1) for name in PUBLISHED} == PUBLISHED


def test_targets_of_the_release_cost_248_with_selectors_and_packages_and_less_without_either() -> None:
    whole = schedule_macs(SMALL_224, RELEASE_BLOCKS, RELEASE_TARGETS)
    assert round(whole.total / 1e9, 2) == 2.48

    def by_hand(packages: int) -> int:
        tokens = [197, *(1 + k + packages * (s + 1) for s, k in enumerate((121, 73, 27)))]  # ceil(share x 196)
        blocks = sum(3 * (attention_macs(t, 384) + ffn_macs(t, 384, 1536)) for t in tokens)
        return 196 * 16 * 16 * 3 * 384 + blocks + 384 * 1000

    assert round((whole.total - whole.selectors) / 1e9, 2) == round(by_hand(packages=1) / 1e9, 2) == 2.46
    assert round((by_hand(packages=0) + whole.selectors) / 1e9, 2) == 2.45
    assert round(by_hand(packages=0) / 1e9, 2) == 2.43


def test_a_schedule_of_four_patches_is_worked_out_by_hand() -> None:
    geometry = DeitGeometry(img_size=16, patch=8, width=16, depth=4, heads=2, ffn_hidden=32, classes=3)
    found = schedule_macs(geometry, (1, 2, 3), (0.75, 0.75, 0.3))
    tokens = (5, 5, 5, 5)  # 1 + 4; 1 + 3 + a package; the same, as the second stage drops nothing; 1 + 2 + two packages
    seen = selector_macs(4, 16, 2) + 2 * selector_macs(4, 16, 2)  # 4 patches; 3 and a package, twice
    assert found.attention == sum(attention_macs(t, 16) for t in tokens)
    assert found.selectors == seen + package_macs(4, 16) + 2 * package_macs(3, 16)
    assert found.head == 48


def counted(model: SoftTokenViT, image: torch.Tensor) -> int:
    """MACs of one image by torch's counter, which counts two per multiply-add; fused attention is in it."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image[None])
    return counter.get_total_flops() // 2


def beyond_the_formula(geometry: Geometry, seen: int, patches: int, drops: bool) -> int:
    """What one selector and its package do at inference beyond their formulas as they stand in the paper.

    They are run in another order, so the two differ by what can be worked out: the class token is scored too, for
    nothing; the average goes through its half of the second layer once, not once per token; the norm's shift goes
    through the first layer once; of the two last scores only the difference is computed; and nothing is summed where
    nothing is dropped.
    """
    heads, d = geometry.heads, geometry.width // geometry.heads
    squeezed, tokens = max(1, heads // 2), seen + geometry.prefix_tokens
    per_head = tokens * (d * d + (d // 2) ** 2 + (d // 2) * (d // 4) + (d // 4)) + d * d + (d // 2) ** 2
    done = heads * per_head + tokens * squeezed * 2 * heads + drops * patches * geometry.width
    return done - selector_macs(seen, geometry.width, heads) - package_macs(patches, geometry.width)


@pytest.mark.parametrize(
    ("keep", "seen"),  # before each selector patches and packages, and patches; and whether it drops any
    [
        ((0.617, 0.369, 0.137), [(196, 196, True), (121 + 1, 121, True), (73 + 2, 73, True)]),
        ((0.78, 0.608, 0.475), [(196, 196, True), (153 + 1, 153, True), (120 + 2, 120, True)]),
        ((0.9, 0.9, 0.5), [(196, 196, True), (177 + 1, 177, False), (177 + 1, 177, True)]),
        ((1.0, 1.0, 1.0), [(196, 196, False)] * 3),
    ],
)
def test_a_schedule_costs_what_torch_counts_for_it(keep, seen) -> None:
    model = SoftTokenViT(deit.build(TINY_224), RELEASE_BLOCKS, decide=top_share(keep, TINY_224.patches)).eval()
    found = schedule_macs(TINY_224, RELEASE_BLOCKS, keep).total
    beyond = sum(beyond_the_formula(TINY_224, *one) for one in seen)
    assert counted(model, torch.zeros(3, 224, 224)) == found + beyond
    assert abs(beyond) < 0.005 * found


@torch.no_grad()
def test_each_image_of_a_batch_costs_what_torch_counts_for_it_alone_to_the_last_multiply_add() -> None:
    model, batch = token_model(), images(12)
    _, stages = model.run(batch)
    macs = image_macs(TINY, model.blocks, stages)
    assert len({count.total for count in macs}) > 3, "too few different counts: the test would show little"
    assert any(not stage.has_package.all() and stage.has_package.any() for stage in stages), "no stage of both kinds"
    for at, (image, count) in enumerate(zip(batch, macs, strict=True)):
        seen = [(int(s.seen[at]), int(s.patches[at]), bool(s.has_package[at])) for s in stages]
        assert counted(model, image) == count.total + sum(beyond_the_formula(TINY, *one) for one in seen)


def every_schedule(patches: int, stages: int) -> list[tuple[float, ...]]:
    """Every schedule r, r^2, ... with counts of its own: at each r from 1 / N on at which a count steps."""
    steps = {(k / patches) ** (1 / s) for k in range(1, patches + 1) for s in range(1, stages + 1)}
    return [tuple(rate**s for s in range(1, stages + 1)) for rate in sorted(steps) if rate * patches >= 1]


def kept(keep: tuple[float, ...], patches: int) -> list[int]:
    """Patches alive after each stage."""
    return [math.ceil(share * patches - 1e-9) for share in keep]


GEOMETRIES = st.builds(
    lambda side, heads, depth: DeitGeometry(side * 4, 4, heads * 8, depth, heads, heads * 16, 5),
    st.integers(2, 9),
    st.integers(1, 3),
    st.integers(2, 8),
)


@given(geometry=GEOMETRIES, where=st.randoms(use_true_random=False), part=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_fitted_schedule_is_the_dearest_that_the_budget_allows(geometry, where, part) -> None:
    blocks = tuple(sorted(where.sample(range(1, geometry.depth), where.randint(1, min(4, geometry.depth - 1)))))
    schedules = every_schedule(geometry.patches, len(blocks))
    costs = [schedule_macs(geometry, blocks, keep).total for keep in schedules]
    assert costs == sorted(costs), "the count fell as the share rose"
    budget = costs[0] + part * (costs[-1] - costs[0])
    keep = fit_keep(geometry, blocks, budget)
    assert max(cost for cost in costs if cost <= budget) <= schedule_macs(geometry, blocks, keep).total <= budget
    assert all(later <= earlier for earlier, later in pairwise(keep))
    for dearer in [schedule for schedule, cost in zip(schedules, costs, strict=True) if cost > budget][:1]:
        found, more = kept(keep, geometry.patches), kept(dearer, geometry.patches)
        assert all(0 <= b - a <= 1 for a, b in zip(found, more, strict=True)), (
            "short of it by more than a patch a stage"
        )


@given(budgets=st.tuples(st.floats(1.25e9, 4.62e9), st.floats(1.25e9, 4.62e9)))
def test_a_smaller_budget_never_keeps_more(budgets) -> None:
    less, more = (fit_keep(SMALL_224, RELEASE_BLOCKS, macs) for macs in sorted(budgets))
    assert all(one <= other for one, other in zip(less, more, strict=True))


def test_a_budget_for_everything_drops_nothing() -> None:
    everything = schedule_macs(TINY, (1, 2, 3), (1.0, 1.0, 1.0))
    assert fit_keep(TINY, (1, 2, 3), everything.total) == (1.0, 1.0, 1.0)
    assert everything.total - everything.selectors == count_macs(TINY).total


@pytest.mark.parametrize("macs", [0, 1.2e9, 4.7e9, math.nan])
def test_a_budget_out_of_reach_names_the_range(macs) -> None:
    with pytest.raises(InputError, match=r"^With selectors before blocks 3, 6, 9 .* 1.249 to 4.623 GMACs.*\.$"):
        fit_keep(SMALL_224, RELEASE_BLOCKS, macs)


def test_shares_that_rise_cost_nothing_but_an_error() -> None:
    with pytest.raises(InputError, match="never rise"):
        schedule_macs(SMALL_224, RELEASE_BLOCKS, (0.5, 0.6, 0.2))
