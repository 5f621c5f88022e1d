"""LV-ViT in the app: with selectors, as a dense file, and by the name whose weights a person brings."""

import dataclasses

import torch

from core.models.cards import ModelCard, SelectorCard
from tests import test_pages
from tests.lvvit import TINY, random_state
from tests.test_pages import CARD, save, texts
from tests.test_pickers import button, open_file, source

assets, visit = test_pages.assets, test_pages.visit
DENSE = ModelCard("lvvit", dataclasses.replace(TINY, classes=6), CARD.classes, CARD.normalisation, training={"a": 1})


def test_the_pages_of_soft_tokens_show_one_with_selectors(visit, tmp_path) -> None:
    save(tmp_path, "tokens", dataclasses.replace(DENSE, selectors=SelectorCard((1, 2), (0.7, 0.5), True)))
    path = str(tmp_path / "tokens.safetensors")
    at = visit("tokens", model=path)
    assert not at.exception
    assert not at.error
    assert at.selectbox(key="model").value == path
    at.switch_page("pages/compare.py").run()
    assert at.selectbox(key="b_model").value == path
    next(group for group in at.get("button_group") if group.key == "b_how").set_value("Keep ratio").run()
    at.select_slider(key="b_keep").set_value(0.35).run()
    assert not at.exception
    assert not at.error
    assert at.selectbox(key="b_model").value == path


def test_a_dense_file_of_the_release_is_opened_and_compared(visit, tmp_path) -> None:
    torch.save(random_state(), tmp_path / "lvvit.pth.tar")
    at = open_file(visit("compare"), tmp_path / "lvvit.pth.tar")
    assert not at.error
    assert "4 x 4 patches of 32 pixels" in texts(at)
    button(at, "Use it as A").click().run()
    assert not at.exception
    assert at.selectbox(key="a_model").value == str(tmp_path / "lvvit.pth.tar")


def test_a_name_without_a_download_says_where_its_file_is_to_be_had(visit) -> None:
    at = source(visit("compare"), "Released")
    at.selectbox(key="of released").set_value("lvvit_s").run()
    assert not at.exception
    assert "given as a file, from https://github.com/zihangJiang/TokenLabeling/releases" in texts(at)
    assert not any("Download" in b.label for b in at.button)
    at = visit("tokens", model="lvvit_s")
    assert "not on this machine; open their file under" in at.warning[0].value


def test_why_a_link_shows_another_model_is_said_until_another_one_is_chosen(visit) -> None:
    """The page of a keep ratio runs once more by itself, when the URL is put right already."""
    at = visit("tokens", model="lvvit_s", keep="0.5")
    assert "Until then you see bundled-tokens." in at.warning[0].value
    at.run()
    assert "Until then you see bundled-tokens." in at.warning[0].value
    at.selectbox(key="model").set_value("bundled-dense").run()
    assert not at.warning
    at.selectbox(key="model").set_value("bundled-tokens").run()
    assert not at.warning
