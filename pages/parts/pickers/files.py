"""A weights file that lies on the server's machine, with names for its classes.

By its path, not by an upload: those are limited to 20 MB, less than any ImageNet model has, and would be kept once more
for each visitor. The names are uploaded, since a path to any text file would let visitors read it.
"""

import streamlit as st

from core.errors import InputError, printable
from core.models.class_lists import parse_classes
from core.models.load import WEIGHTS
from core.models.registry import ModelEntry
from pages.parts.shared import model_facts
from pages.server import models


def choose_file() -> ModelEntry | None:
    """The weights file that was opened last in this session; until there is one, how to open one."""
    st.markdown(
        "A file that `python -m core` wrote, or weights of others as safetensors or by `torch.save`: a plain ViT, "
        "DeiT, Swin, PiT or LV-ViT, or either paper's release format. Read as numbers; code in it never runs."
    )
    wrong = st.container()  # above the form, where a phone shows it without scrolling
    with st.form("weights file", border=False):
        path = st.text_input(
            "Path on the machine that runs this app", key="weights path", placeholder="runs/dense/model.safetensors"
        )
        names = st.file_uploader(
            "Class names, one a line (optional)", type=["txt", "csv"], max_upload_size=1, key="class names file"
        )
        asked = st.form_submit_button("Open this file", icon=":material/folder_open:")
    if asked:
        try:
            classes = None if names is None else (names.name, parse_classes(names.getvalue()))
            st.session_state["opened"] = open_path(path, classes).name
        except InputError as error:
            wrong.error(str(error), icon=":material/error:")
            return None
    return st.session_state.get("files", {}).get(st.session_state.get("opened"))


def open_path(path: str, classes: tuple | None = None) -> ModelEntry:
    """Read the weights file that a person or a link names, and list it in this session.

    Raises:
        InputError: If there is no path, or see `model_facts.open_file`.
    """
    path = path.strip().strip("\"'")
    if not path:
        raise InputError("No path was given; type where the weights file lies, such as runs/dense/model.safetensors.")
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
