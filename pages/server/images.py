"""Sample pictures and the photos that people brought: as they are, small, and as a model sees them."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from PIL import Image

from core.config import ModelSpec
from core.models import registry
from core.photos.crop import Crop, read_crop
from core.photos.image import model_view, open_photo, open_whole, upright_size
from pages.server import models
from viz import player
from viz.thumbnails import thumbnail_style

WHOLE_SIDE = 960
"""Pixels of the longer side of a picture on which a crop is chosen."""


@dataclass(frozen=True)
class Sample:
    """One picture of assets/samples."""

    id: str
    file: str
    title: str
    credit: str
    licence: str
    shows: tuple[str, ...]
    """Names that ImageNet's classes have for what it shows; none: it has no such class."""


@st.cache_resource(max_entries=1, show_spinner=False)
def samples() -> tuple[Sample, ...]:
    """The sample pictures with their licences."""
    listed = json.loads((registry.ASSETS / "samples" / "samples.json").read_text())
    kept = [{key: entry[key] for key in Sample.__dataclass_fields__} for entry in listed]
    return tuple(Sample(**entry | {"shows": tuple(entry["shows"])}) for entry in kept)


def with_crop(picture: str, crop: str | None) -> str:
    """The id of a picture seen through a crop, as `core.photos.crop` writes it; None: through the usual square."""
    return picture if crop is None else f"{picture}@{crop}"


def parts_of(image_id: str) -> tuple[str, Crop | None]:
    """The picture of an id that `pick_picture` gave, and the crop through which the models see it, if it has one."""
    picture, _, crop = image_id.partition("@")
    return picture, read_crop(crop) if crop else None


def sample_of(image_id: str) -> Sample | None:
    """The sample of an id that `pick_picture` gave; None where it is the person's own picture."""
    picture, _ = parts_of(image_id)
    return next((sample for sample in samples() if picture == f"sample:{sample.id}"), None)


def sample_path(sample: Sample) -> str:
    """Where it lies, for a command line: from the folder of the app, if it lies there."""
    path, here = registry.ASSETS / "samples" / sample.file, Path(__file__).resolve().parents[2]
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


@st.cache_data(max_entries=1, show_spinner=False)
def thumbnails() -> str:
    """A style sheet that puts each sample picture, small, on its pill."""
    pictures = [open_photo((registry.ASSETS / "samples" / sample.file).read_bytes()) for sample in samples()]
    return thumbnail_style(pictures, ".st-key-pic")


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo(image_id: str) -> Image.Image:
    """The picture of an id that `pick_picture` gave, or the square of it that the id's crop says."""
    picture, crop = parts_of(image_id)
    return open_photo(_data(picture), crop)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def whole(picture: str) -> tuple[Image.Image, tuple[int, int]]:
    """All of a picture, small, and its own width and height: what a crop is chosen on."""
    data = _data(picture)
    return open_whole(data, WHOLE_SIDE), upright_size(io.BytesIO(data))


def _data(picture: str) -> bytes:
    """The file of a picture's id."""
    kind, _, name = picture.partition(":")
    if kind == "upload":
        return st.session_state["uploaded"][name]
    return (registry.ASSETS / "samples" / sample_of(picture).file).read_bytes()


def view(spec: ModelSpec, image_id: str) -> Image.Image:
    """The square of the photo that the model looks at."""
    return model_view(photo(image_id), models.loaded(ModelSpec(spec.name)).card)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo_url(name: str, image_id: str) -> str:
    """The square of the photo that a model looks at, for the player."""
    return player.photo_url(view(ModelSpec(name), image_id))
