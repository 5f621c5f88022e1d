"""The token player on a page: its component, and what it tells of stage, patch and keep ratio."""

import hashlib
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.config import KEEP_RANGE
from core.files.json_text import json_text
from core.results import TokenTrace
from pages.parts.shared import bound, links, selection
from viz import player

KEY = "player"
LEGEND = (
    "A *patch* is a square of the photo; a *token* is what the network computes with: one for each patch, and the "
    "*class token*, which becomes the answer. A *selector* looks at the tokens before a *block* (one layer of the "
    "network) and lets patches leave; their mean, a *package*, goes on in their place as one token."
)
"""The words of the picture, where they first stand."""
HOW_TO_READ = (
    "Clear patches are kept; hatched ones left for the package of that colour, darker ones at an earlier selector. "
    "Click the picture, or come to it by Tab: arrow keys step, space plays."
)
_mount = st.components.v2.component("token_player", html=player.HTML, css=player.CSS, js=player.JS)


def stage_of(trace: TokenTrace) -> int:
    """The stage that the player shows at rest, in the URL as `stage`: 0 is the input; usually the last."""
    return bound.held("stage", len(trace.blocks), links.number(0, len(trace.blocks)))


def token_of(trace: TokenTrace) -> int | None:
    """The chosen patch, in the URL as `token`: row-major from 0."""
    patches = trace.patches_at(stage_of(trace))

    def fits(text: str) -> int | None:
        return int(text) if text.isdecimal() and len(text) < 6 and int(text) < patches else None

    return bound.held("token", None, fits)


@st.fragment
def show(
    photo_url: str, trace: TokenTrace, keep: float | None = None, steps: Mapping[float, TokenTrace] | None = None
) -> None:
    """The player; stage and patch run only this part of the page again, the keep ratio all of it.

    Args:
        photo_url: What the model sees, as `viz.player.photo_url` gives it.
        trace: Of that photo.
        keep: The keep ratio; None where something else decides, and then there is no slider for it.
        steps: The traces of all of `selection.KEEP_STEPS`, once they are there.
    """
    if st.session_state.pop("keep_moved", False):
        st.rerun()
    _put(
        KEY,
        player.player_data(trace, steps),
        photo=photo_url,
        stage=stage_of(trace),
        token=token_of(trace),
        keep=None
        if keep is None
        else {"value": keep, "min": KEEP_RANGE.low, "max": KEEP_RANGE.high, "step": KEEP_RANGE.step},
        autoplay="stage" not in st.query_params,
        tell=True,
        beside=True,
    )


def show_sample(photo_url: str, trace: TokenTrace) -> None:
    """The player for looking at: pruned to the end, and nothing of it goes into the URL."""
    stage = len(trace.blocks)
    shown = {"photo": photo_url, "stage": stage, "token": None, "keep": None, "autoplay": True}
    _put("sample_player", player.player_data(trace), **shown, tell=False, beside=False)


def _put(key: str, data: dict, **more: Any) -> None:
    """Mount the component; `rev` names what it shows, and the component repeats it once it is drawn."""
    data |= more
    said = json_text({name: value for name, value in data.items() if name != "autoplay"})
    data["rev"] = hashlib.sha256(said.encode()).hexdigest()[:12]
    _mount(key=key, data=data, on_at_change=_moved)


def _moved() -> None:
    """The person moved the player: remember it. What comes from a browser is checked where it is read."""
    at = st.session_state[KEY].get("at")
    if not isinstance(at, dict):
        return
    for key in ("stage", "token"):
        bound.hold(key, at[key] if isinstance(at.get(key), int) else None)
    if at.get("steps") is True:
        st.session_state["wants_steps"] = st.session_state["keep_moved"] = True
    keep = at.get("keep")
    if keep is not None and selection.nearest_step(str(keep)) != selection.keep_ratio():
        bound.hold("keep", selection.nearest_step(str(keep)))
        st.session_state["keep_moved"] = True
