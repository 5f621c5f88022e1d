"""The picture of all pages: a sample, a file of the person's own, or what the camera sees."""

import hashlib

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import InputError
from core.photos.crop import read_crop
from core.photos.image import MAX_UPLOAD_MB, UPLOAD_SUFFIXES, first_of_several, open_photo
from pages.parts.shared import bound, links, runs
from pages.server import images

UPLOAD = "Your own"
WAITS = "The results for your own picture appear here once you have chosen one."
FILE, CAMERA = "A file", "The camera"


def pick_picture() -> str:
    """The picture of all pages, with its crop: an id of `pages.server.images`.

    In the URL as `pic`, the picture's title, and `crop`; another picture begins with its usual square.
    """
    titles = {s.title: s.id for s in images.samples()}
    names = [*titles, UPLOAD]
    first = links.bring("pic", names[0], links.one_of(names))
    st.html(images.thumbnails())
    chosen = st.pills("Picture", names, default=first, key="pic", bind="query-params", required=True, wrap=True)
    if chosen == UPLOAD:
        return _own(f"sample:{titles[names[0]]}", names[0])
    return _cropped(f"sample:{titles.get(chosen, titles[names[0]])}")


def waiting() -> bool:
    """Whether somebody is to give a picture of their own first: then nothing of another one stands there."""
    return st.session_state.get("pic") == UPLOAD and not st.session_state.get("uploaded")


def _cropped(picture: str) -> str:
    """The id of a picture with the crop that the URL or the session has for it; a wrong one is none."""

    def fits(text: str) -> str | None:
        try:
            crop = read_crop(text)
            crop.box(images.whole(picture)[1])
        except InputError:
            return None
        return str(crop)

    return images.with_crop(picture, bound.held_of("crop", picture, fits))


def file_of(image_id: str) -> str:
    """The picture's file for a command line: where a sample lies, or what the person's own is called."""
    sample = images.sample_of(image_id)
    return images.sample_path(sample) if sample else st.session_state.get("uploaded_as", "your-picture.jpg")


def instead_of_upload() -> str:
    """Title of the sample that others see where somebody's own picture was."""
    return images.samples()[0].title


def _own(instead: str, title: str) -> str:
    """The id of the person's own picture, or `instead` until there is a good one; its bytes stay in this session."""
    if not st.session_state.get("uploaded"):
        _ask_for_picture()
        bound.hold("crop", None)
        return instead
    image_id = _cropped(f"upload:{next(iter(st.session_state['uploaded']))}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(st.session_state["uploaded_as"], width="content")
        if first_of_several(images.photo(image_id)):
            st.markdown("**Its file holds several pictures; the first one is read.**", width="content")
        st.markdown(f"Stays in this session only; a link shows “{title}”.", width="content")
        st.button(
            "Remove photo", on_click=_forget, icon=":material/delete:", help="Remove this photo to choose another."
        )
    return image_id


def _ask_for_picture() -> None:
    """The uploader or the camera; a good picture is kept before the page is drawn, a bad one is answered here."""
    turn = st.session_state.get("forgotten", 0)
    how = st.segmented_control("Picture from", (FILE, CAMERA), default=FILE, key="picture from", required=True)
    if how == CAMERA:
        key = f"camera{turn}"
        file = st.camera_input(
            "Your browser asks before it opens the camera", key=key, width=480, on_change=_taken, args=(key,)
        )
    else:
        key = f"file{turn}"
        file = st.file_uploader(
            "A picture of your own",
            type=UPLOAD_SUFFIXES,
            max_upload_size=MAX_UPLOAD_MB,
            key=key,
            on_change=_taken,
            args=(key,),
        )
    if file is not None and "refused" in st.session_state:
        st.error(st.session_state["refused"], icon=":material/error:")
        return
    ask = "Take a picture" if how == CAMERA else "Drop a picture of your own"
    st.info(f"{ask}. It stays in this session: a link never carries it.", icon=":material/add_photo_alternate:")


def _taken(key: str) -> None:
    """Keep the bytes of what the widget took, in this session; if it is no picture, why."""
    st.session_state.pop("refused", None)
    file: UploadedFile | None = st.session_state[key]
    if file is None:
        return
    data = file.getvalue()
    try:
        open_photo(data)
    except InputError as error:
        st.session_state["refused"] = str(error)
        return
    st.session_state["uploaded"] = {hashlib.sha256(data).hexdigest(): data}
    st.session_state["uploaded_as"] = file.name


def _forget() -> None:
    """Drop the uploaded bytes, all that was computed from them, and the uploader that holds the file."""
    for held in ("uploaded", "uploaded_as"):
        st.session_state.pop(held, None)
    st.session_state["forgotten"] = st.session_state.get("forgotten", 0) + 1
    runs.forget_photo()
