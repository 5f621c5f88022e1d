"""The model picker that pages share, its choice in the URL; the picture's is handed on."""

from collections.abc import Sequence

import streamlit as st

from core.errors import InputError
from core.families.families import FAMILIES, METHOD_NAMES, check_method
from pages.parts.pickers.files import why_missing
from pages.parts.pickers.sources import more_models, takes
from pages.parts.shared import links
from pages.parts.shared.pictures import UPLOAD, pick_picture
from pages.server import models

__all__ = ["UPLOAD", "more_models", "pick_model", "pick_picture"]

KINDS = {
    "dense": "dense model",
    "tokens": "model with token selectors",
    "singlepath": "single-path model",
    "compact": "model that single-path pruning made",
    "joint": "single-path model with token selectors",
}


def pick_model(*methods: str) -> str:
    """A model of one of these methods, in the URL as `model`; for one that this page cannot show: its sibling.

    Args:
        methods: See `core.models.registry.ModelEntry.method`; the first one's models are named where there is none.
    """
    asked = st.query_params.get("model", "")
    why_not = why_missing(asked)
    entries = [
        entry
        for method in methods
        for entry in models.offered()
        if entry.method == method and entry.available and takes(entry, methods)
    ]
    if not entries:
        st.info(
            f"There is no {KINDS[methods[0]]} on this machine yet; train one, or put the bundled weights into assets/.",
            icon=":material/info:",
        )
        more_models(methods)
        st.stop()
    names = [entry.name for entry in entries]
    known = {entry.name: entry for entry in models.offered()}
    last = f"last {methods[0]}"

    def sibling(asked: str) -> str | None:
        if asked in names:
            return asked
        if (before := st.session_state.get(last)) in names:
            return before
        return next((e.name for e in entries if asked in known and e.source == known[asked].source), None)

    if asked in known and known[asked].family in FAMILIES:
        why_not = why_not or _refusal(known[asked].family, methods)
    links.bring("model", names[0], sibling)  # the widget's own default is the first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Model", names, key="model", bind="query-params")
        more_models(methods)
    chosen = chosen if chosen in names else names[0]
    if why_not:  # the URL is put right by then, but a page that runs again goes on saying it
        st.session_state["why not"] = methods[0], chosen, f"{why_not} Until then you see {chosen}."
    *here, sentence = st.session_state.get("why not", (None, None, ""))
    if here == [methods[0], chosen]:
        st.warning(sentence, icon=":material/link_off:")
    else:
        st.session_state.pop("why not", None)
    st.session_state[last] = chosen
    return chosen


def _refusal(family: str, methods: Sequence[str]) -> str | None:
    """Why none of these methods can take a family, or None."""
    if methods[0] not in METHOD_NAMES or any(method in FAMILIES[family].METHODS for method in methods):
        return None
    try:
        check_method(family, methods[0])
    except InputError as error:
        return str(error)
    return None
