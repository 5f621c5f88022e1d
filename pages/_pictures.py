"""The picture of all pages: a sample, a file of the person's own, or what the camera sees."""

import hashlib

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import InputError
from core.images import MAX_UPLOAD_MB, open_photo
from pages import _runs, _shared, _url

UPLOAD = "Your own"
FILE, CAMERA = "A file", "The camera"


def pick_picture() -> str:
    """The picture of all pages: a sample's or an upload's id. In the URL as `pic`, the picture's title."""
    titles = {s.title: s.id for s in _shared.samples()}
    names = [*titles, UPLOAD]
    first = _url.bring("pic", names[0], _url.one_of(names))
    st.html(_shared.thumbnails())
    chosen = st.pills("Picture", names, default=first, key="pic", bind="query-params", required=True, wrap=True)
    if chosen == UPLOAD:
        return _own(f"sample:{titles[names[0]]}", names[0])
    return f"sample:{titles.get(chosen, titles[names[0]])}"


def file_of(image_id: str) -> str:
    """The picture's file for a command line: where a sample lies, or what the person's own is called."""
    kind, _, name = image_id.partition(":")
    if kind == "upload":
        return st.session_state.get("uploaded_as", "your-picture.jpg")
    return "assets/samples/" + next(s.file for s in _shared.samples() if s.id == name)


def instead_of_upload() -> str:
    """Title of the sample that others see where somebody's own picture was."""
    return _shared.samples()[0].title


def _own(instead: str, title: str) -> str:
    """The id of the person's own picture, or `instead` until there is a good one; its bytes stay in this session."""
    turn = st.session_state.get("forgotten", 0)
    how = st.segmented_control("Picture from", (FILE, CAMERA), default=FILE, key="picture from", required=True)
    if how == CAMERA:
        file = st.camera_input("Your browser asks before it opens the camera", key=f"camera{turn}", width=480)
    else:
        file = st.file_uploader(
            f"JPEG, PNG or WebP, at most {MAX_UPLOAD_MB} MB",
            type=["jpg", "jpeg", "png", "webp"],
            max_upload_size=MAX_UPLOAD_MB,
            key=f"file{turn}",
        )
    if file is not None and not _keep(file, title):
        return instead
    if not st.session_state.get("uploaded"):
        ask = "Take a picture" if how == CAMERA else "Drop a picture of your own"
        st.info(
            f"{ask}. Until then you see the sample “{title}” with the same settings: a link never carries somebody's "
            "picture.",
            icon=":material/add_photo_alternate:",
        )
        return instead
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Stays in this session only; a link shows the sample “{title}” instead.", width="content")
        st.button("Forget it", on_click=_forget, icon=":material/delete:")
    return f"upload:{next(iter(st.session_state['uploaded']))}"


def _keep(file: UploadedFile, title: str) -> bool:
    """Keep a picture's bytes in this session; if it is none, say so."""
    data = file.getvalue()
    try:
        open_photo(data)
    except InputError as error:
        st.error(f"{error} Until there is a good one you see the sample “{title}”.", icon=":material/error:")
        return False
    st.session_state["uploaded"] = {hashlib.sha256(data).hexdigest(): data}
    st.session_state["uploaded_as"] = file.name
    return True


def _forget() -> None:
    """Drop the uploaded bytes, all that was computed from them, and the uploader that holds the file."""
    for held in ("uploaded", "uploaded_as"):
        st.session_state.pop(held, None)
    st.session_state["forgotten"] = st.session_state.get("forgotten", 0) + 1
    _runs.forget_photo()
