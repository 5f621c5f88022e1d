"""Many photos of a person: taken from files and zips into the session, and forgotten on request."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.inference.agreements import PhotoAgreement
from core.models import registry
from core.photos.image import MAX_UPLOAD_MB, UPLOAD_SUFFIXES
from core.photos.zip import read_photo_zip
from pages.server import hosted, images, queues

Specs = tuple[ModelSpec, ModelSpec]


@dataclass(eq=False)
class Batch:
    """Photos of this session, and what came of them."""

    photos: list[tuple[str, bytes]] = field(default_factory=list)
    """Name and bytes of each file."""
    refused: list[str] = field(default_factory=list)
    """A sentence for each file that could not be taken."""
    done: dict[Specs, dict[int, tuple[PhotoAgreement, bytes] | str]] = field(default_factory=dict)
    """By A and B, then by position in `photos`: what was found and a small picture, or why there is none."""

    @cached_property
    def fingerprint(self) -> str:
        """Stands for the photos in a key."""
        found = hashlib.sha256()
        for _, data in self.photos:
            found.update(hashlib.sha256(data).digest())
        return found.hexdigest()


def batch() -> Batch:
    """This session's."""
    return st.session_state.setdefault("batch", Batch())


def take_photos(*, samples: bool = True) -> None:
    """The uploader, and what else to start from; fills `batch`.

    Args:
        samples: Offer the sample pictures, too.
    """
    turn = st.session_state.get("batch_turn", 0)
    st.file_uploader(
        f"Photos or zips of them, at most {hosted.photo_limits()[0]} photos, {MAX_UPLOAD_MB} MB a file",
        type=[*UPLOAD_SUFFIXES, "zip"],
        accept_multiple_files=True,
        max_upload_size=MAX_UPLOAD_MB,
        key=f"many{turn}",
        on_change=_taken,
        args=(f"many{turn}",),
    )
    for sentence in batch().refused:
        st.warning(sentence, icon=":material/warning:")
    with st.container(horizontal=True, vertical_alignment="center"):
        if batch().photos:
            st.markdown("They stay in the memory of this session only, and no link carries them.", width="content")
            st.button("Remove photos", on_click=_forget, icon=":material/delete:")
        elif samples:
            st.markdown("No photos at hand?", width="content")
            st.button("Take the sample pictures", on_click=_samples, icon=":material/photo_library:")


def _taken(key: str) -> None:
    """The files in the uploader are what is compared, however many there were before."""
    st.session_state["batch"] = Batch(*_read([(file.name, file.getvalue()) for file in st.session_state[key]]))
    st.session_state["comparing"] = False
    if hosted.is_hosted():  # the uploader holds whatever was sent: the next one is empty
        st.session_state["batch_turn"] = st.session_state.get("batch_turn", 0) + 1


def _read(files: list[tuple[str, bytes]]) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Photos of these files, zips opened, within the limits; and a sentence for what was left out."""
    photos: list[tuple[str, bytes]] = []
    refused = []
    for name, data in files:
        if not name.lower().endswith(".zip"):
            photos.append((name, data))
            continue
        try:
            found = read_photo_zip(data)
        except InputError as error:
            refused.append(f"{name}: {error}")
            continue
        photos += found.photos
        refused += [f"{name}: {said}" for said in (*found.dropped, found.skipped.sentence) if said]
    most, total_mb = hosted.photo_limits()
    if len(photos) > most:
        refused.append(f"These are {len(photos)} photos; the first {most} are taken.")
    photos = photos[:most]
    if sum(len(data) for _, data in photos) > total_mb * 2**20:
        return [], [*refused, f"The photos have more than {total_mb} MB together. Choose fewer."]
    return photos, refused


def _samples() -> None:
    """The app's own pictures as a batch."""
    folder = registry.ASSETS / "samples"
    st.session_state["batch"] = Batch([(s.title, (folder / s.file).read_bytes()) for s in images.samples()])


def _forget() -> None:
    """Drop photos, findings and small pictures, the uploader that holds the files, and what is at work on them."""
    for jobs in (queues.scorings(), queues.comparisons()):
        jobs.leave(queues.visitor(), but=lambda key: not key[1])
    for key in ("batch", "comparing", f"many{st.session_state.get('batch_turn', 0)}"):
        st.session_state.pop(key, None)
    st.session_state["batch_turn"] = st.session_state.get("batch_turn", 0) + 1
