"""The Tokens page with dense models, in which nothing was trained for pruning; under AppTest."""

import dataclasses

import pytest

from core.config import ModelSpec
from core.errors import InputError
from core.models.weights import save_checkpoint
from pages.server import models, queues
from tests import tiny_pit, tiny_swin
from tests.test_pages import assets, texts, visit  # noqa: F401


def test_a_dense_model_opens_on_tokens_with_its_patches_ranked(visit) -> None:  # noqa: F811
    at = visit("tokens", model="bundled-dense")
    assert not at.exception
    assert at.selectbox(key="model").value == "bundled-dense"
    assert at.multiselect(key="ranked_before").value == [1, 2, 3]
    assert "Ranked by attention, not trained: bundled-dense" in texts(at)
    assert "Both say " in texts(at) or "Dense says " in texts(at)


def test_the_rule_and_the_blocks_are_what_ran(visit) -> None:  # noqa: F811
    at = visit("tokens", model="bundled-dense", method="Attention mass", mass="0.5", blocks="2")
    assert not at.exception
    assert at.multiselect(key="ranked_before").value == [2]
    expected = models.load_once(ModelSpec("bundled-dense", mass=0.5, blocks=(2,)))
    assert expected.model.blocks == (2,)
    sparse = at.metric[0].value
    at.slider(key="mass").set_value(1.0).run()
    assert at.metric[0].value != sparse
    at.multiselect(key="ranked_before").set_value([1, 3]).run()
    assert not at.exception
    assert at.query_params["blocks"] in ("1,3", ["1,3"])


@pytest.mark.parametrize("blocks", ["99", "0", "x", "1,,2", "", "1" * 50])
def test_blocks_that_are_not_there_are_put_right(visit, blocks) -> None:  # noqa: F811
    at = visit("tokens", model="bundled-dense", blocks=blocks)
    assert not at.exception
    assert set(at.multiselect(key="ranked_before").value) <= {1, 2, 3}


def test_every_tab_shows_a_ranked_model(visit) -> None:  # noqa: F811
    at = visit("tokens", model="bundled-dense")
    for name in [tab.label for tab in at.tabs]:
        at.session_state["details"] = name
        at.run()
        assert not at.exception, name
        assert not at.error, name


def test_a_pit_and_a_swin_open(visit, tmp_path) -> None:  # noqa: F811
    pit = dataclasses.replace(tiny_pit.PIT_CARD, training={"a": 1})
    save_checkpoint(tmp_path / "pit.safetensors", tiny_pit.pit_backbone(), pit)
    at = visit("tokens", model=str(tmp_path / "pit.safetensors"))
    assert not at.exception
    assert at.selectbox(key="model").value == str(tmp_path / "pit.safetensors")
    swin = tiny_swin.swin_path_model().backbone
    save_checkpoint(tmp_path / "swin.safetensors", swin, tiny_swin.SWIN_CARD)
    at = visit("tokens", model=str(tmp_path / "swin.safetensors"))
    assert not at.exception
    assert at.selectbox(key="model").value == str(tmp_path / "swin.safetensors")


def test_a_dense_model_is_scored_on_architecture_and_opened_at_any_budget(visit) -> None:  # noqa: F811
    at = visit("architecture", model="bundled-dense")
    assert not at.exception
    assert "This model is dense" in texts(at)
    at.button(key="score").click().run()
    queues.scorings().wait()
    at.run()
    assert "The gates are scored" in " ".join(said.value for said in at.success)
    next(button for button in at.button if button.label == "Show its architecture").click().run()
    assert not at.exception
    assert "-scored-" in at.selectbox(key="model").value
    assert "Scored, not trained" in texts(at)
    assert at.query_params["model"] in (at.selectbox(key="model").value, [at.selectbox(key="model").value])


def test_a_scoring_that_fails_says_why_and_can_be_tried_again(visit, monkeypatch) -> None:  # noqa: F811
    def refuse(*arguments: object, **more: object) -> None:
        raise InputError("All photos look alike to this model, so nothing can be scored; give different photos.")

    at = visit("architecture", model="bundled-dense")
    monkeypatch.setattr("pages.parts.scoring.scoring_job.make_scored", refuse)
    at.button(key="score").click().run()
    queues.scorings().wait()
    at.run()
    assert any("look alike" in error.value for error in at.error)
    assert at.button(key="score")
