"""The square of the photo that the model sees: drawn on a button, which opens what moves and scales it."""

from typing import Any

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.photos.crop import read_crop
from core.photos.image import usual_crop
from pages.parts.shared import bound, pictures
from pages.parts.shared.mounting import mount
from pages.server import images, models
from viz import crop as drawing
from viz.components import component_file

KEY = "square"
_component = st.components.v2.component(
    "photo_crop",
    html='<div class="root crop"></div>',
    css=component_file("crop", "css"),
    js=component_file("crop", "js"),
)


@st.fragment
def show(image_id: str, name: str) -> None:
    """The button beside the photo; a square that was moved runs the page again.

    Args:
        image_id: Of the photo, as `pick_picture` gave it.
        name: Of the model, whose own square is the usual one.
    """
    if st.session_state.pop("crop_moved", False):
        st.rerun()
    if pictures.waiting():
        return
    picture, crop = images.parts_of(image_id)
    small, size = images.whole(picture)
    usual = usual_crop(size, models.loaded(ModelSpec(name)).card)
    now = crop or usual
    st.html(drawing.button_style(small, now, f".st-key-{KEY}_open button"))
    everything = now.box(size) == (0, 0, *size)
    opened = st.popover(
        f"The model sees {'all of the photo' if everything else 'only the square'}",
        key=f"{KEY}_open",
        help="Move and scale the square; a link keeps it.",
        on_change="rerun",
    )
    if opened.open:

        def told(at: dict) -> None:
            _moved(picture, at, drawing.place(usual))

        with opened:
            mount(_component, KEY, drawing.crop_data(small, size, usual), drawing.place(now), told)


def _moved(picture: str, at: dict[str, Any], usual: dict) -> None:
    """The person moved the square; back at the usual one there is no crop. What no square is, is not taken."""
    try:
        crop = read_crop(",".join(str(at.get(key)) for key in ("x", "y", "size")))
    except InputError:
        return
    back = all(abs(at[key] - usual[key]) < 1e-4 for key in usual)
    bound.hold("crop", None if back else str(crop))
    st.session_state["crop_moved"] = True
