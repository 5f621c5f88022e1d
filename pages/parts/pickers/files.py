"""A weights file of a person's own, with names for its classes: uploaded, or named by its path on the server's machine.

What is uploaded is kept on the server's disk until it ends, once however often it comes. The names are uploaded, since
a path to any text file would let visitors read it.
"""

import hashlib
import re
from uuid import uuid4

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import InputError, printable
from core.models.class_lists import parse_classes
from core.models.load import WEIGHTS
from core.models.registry import ModelEntry
from pages.parts.shared import model_facts
from pages.server import hosted, models, queues

MAX_WEIGHTS_MB = 400
"""Of an upload; a ViT-B in single precision has 350. The server's own limit, in .streamlit/config.toml."""


def choose_file() -> ModelEntry | None:
    """The weights file that was opened last in this session; until there is one, how to open one."""
    if hosted.is_off(hosted.WEIGHTS):
        return None
    st.markdown(
        "A file that `python -m core` wrote, or weights of others as safetensors or by `torch.save`: a plain ViT, "
        "DeiT, Swin, PiT or LV-ViT, or either paper's release format. Read as numbers; code in it never runs."
    )
    wrong = st.container()  # above the form, where a phone shows it without scrolling
    turn = st.session_state.setdefault("weights turn", 0)
    with st.form("weights file", border=False):
        sent = st.file_uploader("Weights file", max_upload_size=MAX_WEIGHTS_MB, key=f"weights file {turn}")
        path = st.text_input(
            "Or its path on the machine that runs this app",
            key="weights path",
            placeholder="runs/dense/model.safetensors",
        )
        names = st.file_uploader(
            "Class names, one a line (optional)", type=["txt", "csv"], max_upload_size=1, key="class names file"
        )
        asked = st.form_submit_button("Open this file", icon=":material/folder_open:")
    if asked:
        try:
            classes = None if names is None else (names.name, parse_classes(names.getvalue()))
            st.session_state["opened"] = open_path(path if sent is None else kept(sent), classes).name
        except InputError as error:
            wrong.error(str(error), icon=":material/error:")
            return None
        if sent is not None:  # the next time another uploader: this one holds the whole file in memory
            st.session_state["weights turn"] = turn + 1
    return st.session_state.get("files", {}).get(st.session_state.get("opened"))


def kept(sent: UploadedFile) -> str:
    """Where an uploaded weights file lies on this server's disk, by its contents and its name.

    Raises:
        InputError: If there is no room for it.
    """
    data = sent.getbuffer()
    folder = queues.own_folder() / hashlib.sha256(data).hexdigest()[:8]
    path = folder / (re.sub(r"[^\w.-]", "-", sent.name)[-60:].lstrip(".-") or "weights")
    try:
        folder.mkdir(exist_ok=True)
        if not path.is_file() or path.stat().st_size != len(data):
            whole = folder / f"{uuid4().hex}.part"  # somebody else may open the same file meanwhile
            whole.write_bytes(data)
            whole.replace(path)
    except OSError as error:
        raise InputError(f"There is no room for this file here ({error.strerror}); name its path instead.") from error
    return str(path)


def open_path(path: str, classes: tuple | None = None) -> ModelEntry:
    """Read the weights file that a person or a link names, and list it in this session.

    Raises:
        InputError: If there is no path, this server reads none, or see `model_facts.open_file`.
    """
    if hosted.is_hosted():
        raise InputError(hosted.WEIGHTS)
    path = path.strip().strip("\"'")
    if not path:
        raise InputError("No file was given; choose one, or type where it lies, such as runs/dense/model.safetensors.")
    if "\0" in path:
        raise InputError("That is no path: there is a NUL in it, which no file's name has. Type it again.")
    return model_facts.open_file(path, classes)


def why_missing(asked: str) -> str | None:
    """Why the model that a link names is not there, though a weights file is opened first; None where nothing lacks."""
    known = {entry.name: entry for entry in models.offered()}
    if not asked or (asked in known and known[asked].available):
        return None
    if asked in known:
        how = "open their file" if known[asked].download_mb is None else "download them"
        return f"The weights of {asked} are not on this machine; {how} under “Other models”."
    if not asked.endswith(WEIGHTS) and "/" not in asked:
        plain = printable(asked, 80).replace("`", "")
        return f"There is no model `{plain}`; those that there are stand under “Other models”."
    try:
        open_path(asked)
    except InputError as error:
        return str(error)
    return None
