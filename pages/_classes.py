"""What a model knows at all, and what to say where the photo probably shows none of it."""

from collections.abc import Sequence

import streamlit as st

from core.confidence import knows_none
from core.results import ClassName, Prediction

FEW = 60
"""So many classes are written out; more are a list to search in."""


def note_if_unknown(prediction: Prediction, key: str = "unknown") -> None:
    """Where the answer says next to nothing: that it probably is none of the classes, and which there are."""
    if not knows_none(prediction):
        return
    with st.container(border=True):
        st.markdown(":material/help: **Probably none of the classes that this model knows.**")
        st.markdown(
            "Its answer is spread over more than half of them (less than one bit above chance), so the first one means "
            "little. It knows:"
        )
        list_classes(prediction.classes, search=f"search {key}")


def list_classes(classes: Sequence[ClassName], search: str | None = None) -> None:
    """All classes by name, in a box to scroll in where they are many.

    Args:
        classes: Those that the model knows.
        search: Key of a field to search in them, where they are many; None: without one.
    """
    labels = sorted((name.label for name in classes), key=str.casefold)
    if len(labels) <= FEW:
        st.markdown(", ".join(labels) + ".")
        return
    asked = st.text_input(f"Search in {len(labels):,} classes", key=search).strip() if search else ""
    found = [label for label in labels if asked.casefold() in label.casefold()]
    with st.container(height=180):
        st.markdown(", ".join(found) + "." if found else f"None of its classes has “{asked}” in its name.")
