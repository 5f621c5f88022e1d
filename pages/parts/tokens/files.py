"""What one can take home from the Tokens page: pictures, moving pictures, numbers."""

from functools import partial

import streamlit as st

from core.config import ModelSpec
from core.files.json_text import json_text
from core.inference.trace_file import KEYS, trace_document
from core.results import TokenTrace
from pages.server import images
from viz import animation


def show(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    """One button each; a file is made when somebody clicks."""
    st.markdown("The picture of the stage that the player shows, all stages as a moving picture, and all numbers.")
    view, name = images.view(ModelSpec(spec.name), image_id), _file_name(image_id)
    now = st.session_state.setdefault("held", {})  # the player writes to it; read when somebody clicks
    last = len(trace.blocks)
    files = (
        ("PNG, this stage", f"{name}-stage.png", lambda: animation.png(view, trace, min(last, now.get("stage", last)))),
        ("GIF, all stages", f"{name}.gif", partial(animation.animation, view, trace, "GIF")),
        ("WebP, all stages", f"{name}.webp", partial(animation.animation, view, trace, "WEBP")),
        ("JSON, the trace", f"{name}.json", lambda: json_text(trace_document(spec, trace))),
    )
    with st.container(horizontal=True):
        for label, file, make in files:
            st.download_button(label, make, file, icon=":material/download:", on_click="ignore")
    with st.popover("What the JSON holds", type="tertiary"):
        st.markdown("\n".join(f"- `{key}`: {meaning}" for key, meaning in KEYS.items()))
        st.markdown("Blocks and patches count from 0.")


def _file_name(image_id: str) -> str:
    """A sample's name; an upload tells nothing of itself."""
    kind, _, name = images.parts_of(image_id)[0].partition(":")
    return f"prunescope-{name if kind == 'sample' else 'photo'}"
