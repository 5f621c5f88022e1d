"""The model picker that pages share, its choice in the URL; the picture's is handed on."""

from collections.abc import Sequence

import streamlit as st

from core.errors import InputError
from core.families.families import FAMILIES
from core.methods import Kind, check_takes
from pages.parts.pickers.files import why_missing
from pages.parts.pickers.sources import can_be, more_models, takes
from pages.parts.shared import links
from pages.parts.shared.pictures import UPLOAD, pick_picture
from pages.server import models

__all__ = ["UPLOAD", "more_models", "pick_model", "pick_picture"]


def pick_model(*kinds: Kind) -> str:
    """A model of one of these kinds, in the URL as `model`; for one that this page cannot show: its sibling.

    Args:
        kinds: The first one's models are named where there is none.
    """
    asked = st.query_params.get("model", "")
    why_not = why_missing(asked)
    entries = [
        entry
        for kind in kinds
        for entry in models.offered()
        if entry.kind == kind and entry.available and takes(entry, kinds)
    ]
    if not entries:
        st.info(
            f"There is no {kinds[0].noun} on this machine yet; train one, or put the bundled weights into assets/.",
            icon=":material/info:",
        )
        more_models(kinds)
        st.stop()
    names = [entry.name for entry in entries]
    known = {entry.name: entry for entry in models.offered()}
    last = f"last {kinds[0].name}"

    def sibling(asked: str) -> str | None:
        if asked in names:
            return asked
        if (before := st.session_state.get(last)) in names:
            return before
        return next((e.name for e in entries if asked in known and e.source == known[asked].source), None)

    if asked in known and known[asked].family in FAMILIES:
        why_not = why_not or _refusal(known[asked].family, kinds)
    links.bring("model", names[0], sibling)  # the widget's own default is the first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Model", names, key="model", bind="query-params")
        more_models(kinds)
    chosen = chosen if chosen in names else names[0]
    if why_not:  # the URL is put right by then, but a page that runs again goes on saying it
        st.session_state["why not"] = kinds[0].name, chosen, f"{why_not} Until then you see {chosen}."
    *here, sentence = st.session_state.get("why not", (None, None, ""))
    if here == [kinds[0].name, chosen]:
        st.warning(sentence, icon=":material/link_off:")
    else:
        st.session_state.pop("why not", None)
    st.session_state[last] = chosen
    return chosen


def _refusal(family: str, kinds: Sequence[Kind]) -> str | None:
    """Why a family can be made none of these kinds, or None."""
    first = kinds[0].made_by
    if first is None or can_be(family, kinds):
        return None
    try:
        check_takes(first, family)
    except InputError as error:
        return str(error)
    return None
