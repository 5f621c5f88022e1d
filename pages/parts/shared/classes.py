"""What a model knows at all, and what to say where the photo probably shows none of it."""

from collections.abc import Sequence

import streamlit as st

from core.inference.confidence import knows_none, spread
from core.results import ClassName, Prediction
from pages.server import images

FEW = 60
"""So many classes are written out; more are a list to search in."""


def note_if_unknown(image_id: str, *predictions: Prediction, key: str = "unknown") -> None:
    """Where an answer means little: a sample of none of the classes, or an answer next to chance; and which there are.

    Args:
        image_id: The photo.
        predictions: Of models that know the same classes; one that is next to chance is enough.
        key: Of the field to search in the classes.
    """
    classes = predictions[0].classes
    if vague := [prediction for prediction in predictions if knows_none(prediction)]:
        about = "Probably none of the classes that this model knows."
        why = (
            f"Its answer is spread as if over {spread(vague[0]):.3g} of its {len(classes):,} classes alike, so the "
            "first one means little, even where the photo shows one of them. It knows:"
        )
    elif (sample := images.sample_of(image_id)) and not {name.label for name in classes} & set(sample.shows):
        about = f"The sample “{sample.title}” shows none of the classes that this model knows."
        why = "It names the most similar one, so watch what pruning changes, not whether the answer is right. It knows:"
    else:
        return
    with st.container(border=True):
        st.markdown(f":material/help: **{about}**")
        st.markdown(why)
        list_classes(classes, search=f"search {key}")


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
