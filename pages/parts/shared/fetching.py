"""Getting a model's weights onto this machine: how much it is, how far it is, a way to end it, and what went wrong."""

from functools import partial

import streamlit as st

from core.errors import InputError
from core.models.downloads import Download, done_mb
from core.models.registry import ModelEntry
from pages.parts.shared import model_facts
from pages.server import hosted, models, queues
from pages.server.jobs import Handle, Work


def show_download(entry: ModelEntry) -> None:
    """Start, watch and cancel the download of a model's weights."""
    if hosted.is_off(hosted.DOWNLOADS):
        return
    jobs, who = queues.downloads(), queues.visitor()
    found = jobs.standing(entry.name)
    if found is not None and found.state == "done":  # and yet it is not listed as being here
        jobs.forget(lambda key: key == entry.name)
        model_facts.look_again()
        st.rerun()
    if found is None or not found.under_way:
        told = found if entry.name in jobs.asked_by(who) else None  # else it is another visitor's, and long over
        if told is not None and told.failure:
            st.error(told.failure, icon=":material/cloud_off:")
        elif told is not None:
            st.info("The download was cancelled; nothing was kept.", icon=":material/info:")
        again = "Try again" if told is not None and told.failure else "Download"
        st.button(
            f"{again}, about {entry.download_mb:.0f} MB",
            key="download",
            icon=":material/download:",
            on_click=_start,
            args=(entry.name,),
        )
        return
    if found.state != "ending":  # who watches another visitor's has a part in it, and so is told how it ends
        jobs.ask(entry.name, who, partial(_work, entry.name))
    st.fragment(_watch, run_every=1.0)(entry)


def _start(name: str) -> None:
    """Begin a download, unless another visitor has."""
    queues.downloads().ask(name, queues.visitor(), partial(_work, name), again=True)


def _work(name: str) -> Work:
    """What fetches the weights, and lists them."""
    listed = models.listed

    def work(handle: Handle) -> None:
        download = Download(name)
        handle.at_end(download.cancel)
        download.wait()
        if download.arrived:
            listed.clear()
            return
        handle.check()
        raise InputError(download.failure)

    return work


def _watch(entry: ModelEntry) -> None:
    """Each second."""
    found = queues.downloads().standing(entry.name)
    if found is None or not found.under_way:
        st.rerun()
    progress(entry, "cancel")


def progress(entry: ModelEntry, key: str) -> None:
    """How far a download is, with a way to end it.

    Args:
        entry: The model.
        key: Of the button.
    """
    found = queues.downloads().standing(entry.name)
    if found is not None and found.state == "ending":
        st.markdown("Cancelling …")
        return
    if entry.download_mb is None:  # it has just arrived
        return
    done, total = done_mb(entry.name), entry.download_mb
    line = f"waiting, {found.before} before it" if found is not None and found.before else f"{done:.1f} of"
    st.progress(min(1.0, done / total), f"Downloading: {line} about {total:.0f} MB")
    st.button("Cancel", key=key, icon=":material/close:", on_click=queues.downloads().cancel, args=(entry.name,))
