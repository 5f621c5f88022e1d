"""What a model knows at all, and what to say where the photo probably shows none of it."""

from collections.abc import Sequence

import streamlit as st

from core.config import ModelSpec
from core.inference.confidence import knows_none, spread
from core.results import ClassName, Prediction
from pages.server import images, models
from viz.thumbnails import mark_style

FEW = 60
"""So many classes are written out; more are a list to search in."""


def mark_samples(*names: str) -> None:
    """Mark the samples that show nothing that any of these models knows, on the pills that choose a picture.

    Args:
        names: Of the models that the page shows.
    """
    known = {name.label for model in names for name in models.loaded(ModelSpec(model)).card.classes}
    unknown = [number for number, sample in enumerate(images.samples(), start=1) if not known & set(sample.shows)]
    st.html(mark_style(unknown, ".st-key-pic", "unknown"))


def note_if_unknown(image_id: str, *predictions: Prediction, key: str = "unknown", who: str = "this model") -> None:
    """Where an answer means little: a sample of none of the classes, or an answer next to chance; and which there are.

    To stand before the answers.

    Args:
        image_id: The photo.
        predictions: Of models that know the same classes; one that is next to chance is enough.
        key: Of the field to search in the classes.
        who: Whose classes they are.
    """
    classes = predictions[0].classes
    know = "know" if who.endswith("models") else "knows"
    sample = images.sample_of(image_id)
    if sample and not {name.label for name in classes} & set(sample.shows):
        about = f"The sample “{sample.title}” shows nothing that {who} {know}."
        why = "The answer is the most similar class: watch what pruning changes, not whether it is right."
    elif vague := [prediction for prediction in predictions if knows_none(prediction)]:
        about = "The answer is next to a guess." if sample else f"Probably nothing that {who} {know}."
        why = (
            f"Its probability is spread as if over {spread(vague[0]):.3g} of the {len(classes):,} classes alike, so "
            "the first one means little, even if it is right."
        )
    else:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":material/help: **{about}** {why}")
        with st.popover(f"The {len(classes):,} classes", type="tertiary", key=f"classes {key}"):
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
