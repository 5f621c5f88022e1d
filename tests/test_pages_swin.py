"""Pages with a Swin: the architecture page opens it, and so does the tokens page; under AppTest."""

import dataclasses

import pytest
import torch

from core.models.cards import SelectorCard, SinglePathCard
from core.models.weights import save_checkpoint
from tests.test_core_swin_files import MIXED, random_state, write
from tests.test_pages import CARD, assets, save, sent, texts, visit  # noqa: F401
from tests.tiny_swin import (
    SWIN,
    SWIN_CARD,
    TOKEN_BLOCKS,
    TOKEN_SWIN_CARD,
    dense_swin,
    swin_path_model,
    swin_token_model,
)


@pytest.fixture
def searched(tmp_path) -> str:
    """A searched Swin of ours."""
    path = tmp_path / "mine.safetensors"
    card = dataclasses.replace(SWIN_CARD, single_path=SinglePathCard(100.0, fit_to_predict=True))
    save_checkpoint(path, swin_path_model(), card, half=False)
    return str(path)


def test_the_architecture_page_shows_every_block_of_a_searched_swin(visit, searched) -> None:  # noqa: F811
    at = visit("architecture", model=searched, budget="60", block="5")
    assert not at.exception
    assert not at.error
    assert at.selectbox(key="model").value == searched
    assert "Block 6" in texts(at)
    assert len(sent(at)["mixers"][0]) == 6


def test_the_architecture_page_opens_released_swins(visit, tmp_path) -> None:  # noqa: F811
    torch.manual_seed(0)
    path = write(tmp_path / "searched.pth", random_state(MIXED, "searched"))
    at = visit("architecture", model=path)
    assert not at.exception
    assert at.selectbox(key="model").value == path


def test_the_tokens_page_opens_a_swin_with_selectors_and_ranks_a_dense_one(visit, tmp_path) -> None:  # noqa: F811
    card = dataclasses.replace(TOKEN_SWIN_CARD, training={"a": 1})
    selectors = SelectorCard(TOKEN_BLOCKS, (0.7, 0.5, 0.25, 0.5), True)
    for name, model, own in (
        ("tokens", swin_token_model(), dataclasses.replace(card, selectors=selectors)),
        ("dense", dense_swin(), card),
    ):
        path = str(tmp_path / f"{name}.safetensors")
        save_checkpoint(tmp_path / f"{name}.safetensors", model, own)
        at = visit("tokens", model=path, method="Keep ratio")
        assert not at.exception
        assert not at.error
        assert at.selectbox(key="model").value == path
        for tab in [tab.label for tab in at.tabs]:
            at.session_state["details"] = tab
            at.run()
            assert not at.exception, tab
            assert not at.error, tab


def test_a_swin_is_not_compared_with_a_dense_model_of_another_family(visit, tmp_path) -> None:  # noqa: F811
    card = dataclasses.replace(
        SWIN_CARD, geometry=dataclasses.replace(SWIN, classes=6), classes=CARD.classes, training={"a": 1}
    )
    save(tmp_path, "searched", dataclasses.replace(card, single_path=SinglePathCard(100.0, fit_to_predict=True)))
    at = visit("architecture", model=str(tmp_path / "searched.safetensors"))  # bundled-dense knows the same classes
    assert not at.exception
    assert "so there is nothing to agree with" in texts(at)
    assert "KL" not in texts(at)


def test_a_fine_tuned_swin_stands_beside_a_budget(visit, tmp_path) -> None:  # noqa: F811
    path = write(tmp_path / "finetuned.pth", random_state(MIXED, "finetuned"))
    at = visit("architecture", model=path, published=path)
    assert not at.exception
    assert at.selectbox(key="published").value == path
    assert "1 of 4 blocks keep their attention" in texts(at)
