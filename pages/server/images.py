"""Sample pictures and the photos that people brought: as they are, small, and as a model sees them."""

import json
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from PIL import Image

from core.config import ModelSpec
from core.models import registry
from core.photos.image import model_view, open_photo
from pages.server import models
from viz import player
from viz.thumbnails import thumbnail_style


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


def sample_of(image_id: str) -> Sample | None:
    """The sample of an id that `pick_picture` gave; None where it is the person's own picture."""
    return next((sample for sample in samples() if image_id == f"sample:{sample.id}"), None)


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
    """The picture of an id that `pick_picture` gave."""
    kind, _, name = image_id.partition(":")
    if kind == "upload":
        return open_photo(st.session_state["uploaded"][name])
    return open_photo((registry.ASSETS / "samples" / sample_of(image_id).file).read_bytes())


def view(spec: ModelSpec, image_id: str) -> Image.Image:
    """The square of the photo that the model looks at."""
    return model_view(photo(image_id), models.loaded(ModelSpec(spec.name)).card)


@st.cache_data(max_entries=8, scope="session", show_spinner=False)
def photo_url(name: str, image_id: str) -> str:
    """The square of the photo that a model looks at, for the player."""
    return player.photo_url(view(ModelSpec(name), image_id))
