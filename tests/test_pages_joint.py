"""A joint model on every page, under AppTest: beside models of each method, as a file assets/bundled-joint would be."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from core import results
from core.costs.macs import count_macs
from core.evaluation import recorded
from core.evaluation.recorded import add_row
from core.models.cards import CompactCard, SelectorCard, SinglePathCard
from core.results import Recorded
from core.results.timings import CostCurve, LatencyTable, PathCosts
from pages.parts.shared import model_facts
from pages.parts.timing import part_times
from pages.server import keeping
from tests import test_pages
from tests.small_assets import SMALL_ASSETS
from tests.test_pages import CARD, GEOMETRY, dense_ms, parts, player_of, save, texts, track
from viz import cost
from viz.theme import MIXER_WORDS

visit = test_pages.visit
MIXERS, HIDDEN = ("conv3x3", "msa", "conv1x1", "msa"), (48, 20, 10, 30)
MACS = count_macs(GEOMETRY, mixers=MIXERS, ffn_hidden=HIDDEN).total


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples, one model of each method and a joint one, with two recorded evaluations of that."""
    folder = tmp_path_factory.mktemp("assets")
    shutil.copytree(SMALL_ASSETS / "samples", folder / "samples")
    selectors = SelectorCard((1, 2), (0.7, 0.5), True)
    save(folder, "bundled-dense", CARD)
    save(folder, "bundled-tokens", dataclasses.replace(CARD, selectors=selectors))
    joint = dataclasses.replace(CARD, selectors=selectors, compact=CompactCard(MIXERS, HIDDEN, 1.01 * MACS))
    save(folder, "bundled-joint", joint)
    save(folder, "bundled-path", dataclasses.replace(CARD, single_path=SinglePathCard(0.01, True)))
    dense = count_macs(GEOMETRY).total
    for keep, share, top1 in ((0.9, 1.3, 0.6), (0.2, 0.2, 0.5)):
        row = Recorded("bundled-joint", f"--keep {keep},{keep**2:.4f}", top1, 0.9, share * MACS, dense, 1200)
        add_row(folder / "evaluations.json", row)
    return folder


def test_tokens_page_plays_a_joint_model_and_counts_its_convolution(visit) -> None:
    at = visit("tokens", model="bundled-joint", method="Keep ratio", keep="0.5")
    assert not at.exception
    assert at.selectbox(key="model").value == "bundled-joint"
    player_of(at)
    assert "of the multiply-adds saved" in texts(at)


def test_tokens_page_starts_with_the_model_that_has_selectors_alone(visit) -> None:
    assert visit("tokens").selectbox(key="model").value == "bundled-tokens"


def test_architecture_page_shows_the_fixed_network_of_a_joint_model(visit) -> None:
    at = visit("architecture", model="bundled-joint")
    assert not at.exception
    assert "2 of 4 blocks keep their attention" in texts(at)
    assert "This network is fixed" in texts(at)
    table = at.dataframe[0].value
    assert list(table["Mixer"]) == [MIXER_WORDS[mixer] for mixer in MIXERS]
    assert list(table["Selector before it"]) == ["", "selector 1", "selector 2", ""]


def test_budget_page_has_keep_ratios_on_the_joint_model_beside_the_others(visit, assets, monkeypatch) -> None:
    monkeypatch.setattr(recorded, "RECORDED", assets / "evaluations.json")
    monkeypatch.setattr(cost, "BUSY", float("inf"))
    at = visit("budget", joint="0.9")
    assert not at.exception
    joint = track(at, "Joint")
    assert joint["Predicted latency"][0].endswith(" ms")
    assert dense_ms(at, "Joint") == dense_ms(at, "Single path")
    assert joint["Top-1 accuracy"][0].endswith("%")
    assert joint["MACs"][0] in texts(at)
    assert "both methods on one model" in texts(at)
    assert "Joint, keep 90 %" in texts(at)


def test_a_joint_model_is_predicted_by_what_it_takes_at_its_own_multiply_adds(visit, monkeypatch) -> None:
    visit("tokens")
    (costs,) = keeping.keep_macs("bundled-joint", (0.5,))
    curve = CostCurve("here", 1, 1, (costs - 100, costs + 100), (2.0, 4.0), 12.0)
    path = PathCosts(
        "here", 1, 1, dict.fromkeys(results.MIXERS, 5.0), (0, 48), (0.0, 0.0), 4.0
    )  # 24 ms dense, 4 blocks
    parts(monkeypatch, path_block=3.0, selector=0.0)  # 13 ms dense, by the model with selectors
    monkeypatch.setattr(part_times, "measure_curve", lambda *given, **more: curve)
    monkeypatch.setattr(part_times, "measure_path", lambda *given, **more: path)
    said = track(visit("budget", joint="0.5"), "Joint")["Predicted latency"]
    assert said == ("≈ 6 ms", "rough, 3 to 6 ms: the machine was busy")  # 3 ms, by a dense network twice as fast


def test_another_devices_table_says_nothing_of_a_joint_model(visit) -> None:
    at = visit("budget")
    at.session_state["given_table"] = LatencyTable("toaster", 1, 1, 32, 2, 48, (2, 20), (3.0, 3.0), (0.0, 0.0), 1.0)
    at.run()
    assert not at.exception
    assert track(at, "Joint")["Predicted latency"] == ("unknown", "not in the table of toaster")


def test_compare_takes_a_joint_model_with_keep_ratio_or_threshold(visit) -> None:
    for setting, control, value in (("keep=0.35", "b_keep", 0.35), ("threshold=0.2", "b_threshold", 0.2)):
        at = visit("compare", a="bundled-tokens", b=f"bundled-joint~{setting}")
        assert not at.exception
        assert (at.select_slider if control == "b_keep" else at.slider)(key=control).value == value


def test_a_joint_model_is_the_sum_of_its_parts_on_the_budget_page(visit) -> None:
    visit("budget", joint="1.0")
    (whole,) = keeping.keep_macs("bundled-joint", (1.0,))
    selectors = whole - MACS
    assert 0 < selectors < 0.2 * MACS


@pytest.mark.parametrize("model", ["bundled-joint", "bundled-path"])
def test_without_its_dense_model_no_agreement_is_claimed(visit, monkeypatch, model) -> None:
    assert "KL" in texts(visit("architecture", model=model))
    monkeypatch.setattr(model_facts, "dense_of", lambda name: None)
    at = visit("architecture", model=model)
    assert not at.exception
    assert "so there is nothing to agree with" in texts(at)
    assert "KL" not in texts(at)
