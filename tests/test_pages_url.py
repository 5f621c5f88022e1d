"""Settings of components in the URL: what a link says comes first, then what the session had; nonsense is dropped."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import streamlit as st
from pages.parts.shared import bound, links

if how := st.session_state.pop("open", None):
    bound.open_page(back=how == "back")
if "set" in st.session_state:
    bound.hold("stage", st.session_state.pop("set"))
st.text(repr(bound.held("stage", 2, links.number(0, 3))))
st.text(repr(bound.settings(("stage", "keep", "pic"))))
"""


@pytest.fixture
def run() -> Callable[..., AppTest]:
    """A page with one held setting, `stage`: a whole number from 0 to 3, usually 2; `set` sets it."""

    def start(url: str | None = None) -> AppTest:
        at = AppTest.from_string(SCRIPT.format(root=str(ROOT)))
        if url is not None:
            at.query_params["stage"] = url
        return at.run()

    return start


def shown(at: AppTest) -> str:
    assert not at.exception
    return at.text[0].value


@pytest.mark.parametrize(
    ("url", "value"), [(None, "2"), ("1", "1"), ("0", "0"), ("9", "3"), ("-4", "0"), ("<b>", "2"), ("nan", "2")]
)
def test_held_setting_is_what_the_url_says_where_that_is_possible(run, url, value) -> None:
    assert shown(run(url)) == value


def test_nonsense_leaves_the_url(run) -> None:
    assert "stage" not in run("<b>").query_params


def test_held_setting_is_written_to_the_url_and_outlives_it(run) -> None:
    at = run()
    at.session_state["set"] = 3
    assert shown(at.run()) == "3"
    assert "".join(at.query_params["stage"]) == "3"
    at.session_state["open"] = "anew"  # as after a visit to another page
    del at.query_params["stage"]
    assert shown(at.run()) == "3"
    at.query_params["stage"] = "1"
    assert shown(at.run()) == "1"


@pytest.mark.parametrize("late", [None, "1", "<b>"])
def test_browser_that_asks_with_the_url_of_before_takes_nothing_back(run, late) -> None:
    at = run("1")
    at.session_state["set"] = 3
    at.run()
    at.query_params.pop("stage", None)
    if late is not None:
        at.query_params["stage"] = late
    assert shown(at.run()) == "3"
    assert "".join(at.query_params["stage"]) == "3"


@pytest.mark.parametrize(("url", "value"), [("1", "1"), (None, "2")])
def test_who_goes_back_gets_what_the_url_says_or_what_is_usual(run, url, value) -> None:
    at = run(url)
    at.session_state["set"] = 3
    at.run()
    at.query_params.pop("stage", None)
    if url is not None:
        at.query_params["stage"] = url
    at.session_state["open"] = "back"
    assert shown(at.run()) == value


def test_forgotten_setting_does_not_come_back_by_a_late_url(run) -> None:
    at = run("1")
    at.session_state["set"] = None
    assert shown(at.run()) == "2"
    at.query_params["stage"] = "1"
    assert shown(at.run()) == "2"
    assert "stage" not in at.query_params


def test_settings_for_the_next_page_are_those_of_widgets_before_those_of_components(run) -> None:
    at = run()
    at.session_state["set"] = 3
    at.session_state["keep"] = 0.5
    at.run()
    assert at.text[1].value == "{'stage': '3', 'keep': '0.5'}"
    at.session_state["stage"] = 1
    assert at.run().text[1].value == "{'stage': '1', 'keep': '0.5'}"
