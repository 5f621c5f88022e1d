"""The Tokens page with a PiT's file: every picture, table and download is there, on the grids of the stages."""

import dataclasses
from pathlib import Path

from streamlit.testing.v1 import AppTest

from core.models.cards import SelectorCard
from core.models.weights import save_checkpoint
from tests.test_pages import RUN_S
from tests.tiny_pit import BLOCKS, PIT_CARD, pit_token_model

APP = Path(__file__).resolve().parent.parent / "app.py"


def test_tokens_page_shows_a_pit(tmp_path) -> None:
    card = dataclasses.replace(PIT_CARD, selectors=SelectorCard(BLOCKS, (0.7, 0.5, 0.25, 0.5), True), training={"a": 1})
    path = tmp_path / "pit.safetensors"
    save_checkpoint(path, pit_token_model(), card)
    test = AppTest.from_file(str(APP), default_timeout=RUN_S)
    test.query_params["model"] = str(path)
    test.query_params["method"] = "Keep ratio"
    test.run()
    test.switch_page("pages/tokens.py").run()
    assert not test.exception
    assert str(path) in test.selectbox(key="model").value
    tabs = [tab.label for tab in test.tabs]
    assert len(tabs) == 7
    for name in tabs:
        test.session_state["details"] = name
        test.run()
        assert not test.exception, name
        assert not test.error, name
