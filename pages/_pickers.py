"""The model picker that pages share, its choice in the URL; the picture's is handed on."""

import streamlit as st

from core.backbones.families import FAMILIES, METHOD_NAMES, check_method
from core.checkpoints import WEIGHTS
from core.errors import InputError
from pages import _shared, _url
from pages._files import open_path
from pages._pictures import UPLOAD, pick_picture
from pages._sources import more_models

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
        methods: See `core.registry.ModelEntry.method`; the first one's models are named where there is none.
    """
    why_not = _open_linked()
    entries = [entry for method in methods for entry in _shared.models() if entry.method == method and entry.available]
    if not entries:
        st.info(
            f"There is no {KINDS[methods[0]]} on this machine yet; train one, or put the bundled weights into assets/.",
            icon=":material/info:",
        )
        more_models(methods)
        st.stop()
    names = [entry.name for entry in entries]
    known = {entry.name: entry for entry in _shared.models()}

    def sibling(asked: str) -> str | None:
        if asked in names:
            return asked
        return next((e.name for e in entries if asked in known and e.source == known[asked].source), None)

    asked = st.query_params.get("model")
    if asked in known and methods[0] in METHOD_NAMES and known[asked].family in FAMILIES:
        why_not = why_not or _refusal(known[asked].family, methods[0])
    if asked in known and not known[asked].available:
        how = "open their file" if known[asked].download_mb is None else "download them"
        why_not = f"The weights of {asked} are not on this machine; {how} under “Other models”."
    _url.bring("model", names[0], sibling)  # the widget's own default is the first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Model", names, key="model", bind="query-params")
        more_models(methods)
    if why_not:
        st.warning(f"{why_not} Until then you see {names[0]}.", icon=":material/link_off:")
    return chosen if chosen in names else names[0]


def _refusal(family: str, method: str) -> str | None:
    """Why a method cannot take a family, or None."""
    try:
        check_method(family, method)
    except InputError as error:
        return str(error)
    return None


def _open_linked() -> str | None:
    """Open the weights file that the link names, if it names one; what went wrong, or None."""
    asked = st.query_params.get("model", "")
    if not asked.endswith(WEIGHTS) or asked in st.session_state.get("files", {}):
        return None
    try:
        open_path(asked)
    except InputError as error:
        return str(error)
    return None
