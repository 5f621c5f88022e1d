"""Getting a model's weights onto this machine: how much it is, how far it is, a way to end it, and what went wrong."""

import streamlit as st

from core.downloads import Download
from core.registry import ModelEntry
from pages import _models, _shared


def show_download(entry: ModelEntry) -> None:
    """Start, watch and cancel the download of a model's weights."""
    found = _shared.downloads().get(entry.name)
    if found is not None and found.arrived:
        _shared.downloads().pop(entry.name, None)
        _models.look_again()
        st.rerun()
    if found is None or not found.running:
        if entry.name not in st.session_state.get("fetched", ()):
            found = None  # another visitor's, and long over
        if found is not None and found.failure:
            st.error(found.failure, icon=":material/cloud_off:")
        elif found is not None and found.cancelled:
            st.info("The download was cancelled; nothing was kept.", icon=":material/info:")
        again = "Try again" if found is not None and found.failure else "Download"
        st.button(
            f"{again}, about {entry.download_mb:.0f} MB",
            key="download",
            icon=":material/download:",
            on_click=_start,
            args=(entry.name,),
        )
        return
    _remember(entry.name)
    st.fragment(_watch, run_every=1.0)(entry)


def _start(name: str) -> None:
    """Begin a download, unless another visitor has."""
    _remember(name)
    found = _shared.downloads().get(name)
    if found is None or not found.running:
        _shared.downloads()[name] = Download(name)


def _remember(name: str) -> None:
    """That this session has a part in the download, and so wants to know how it ends."""
    st.session_state["fetched"] = {*st.session_state.get("fetched", ()), name}


def _watch(entry: ModelEntry) -> None:
    """How far it is, each second, with a way to end it."""
    found = _shared.downloads().get(entry.name)
    if found is None or not found.running:
        st.rerun()
    if found.cancelled:
        st.markdown("Cancelling …")
        return
    done, total = found.done_mb, entry.download_mb
    st.progress(min(1.0, done / total), f"Downloading: {done:.1f} of about {total:.0f} MB")
    st.button("Cancel", key="cancel", icon=":material/close:", on_click=found.cancel)
