"""What a pruned model says of the photo, beside its dense model where that is on this machine."""

import streamlit as st

from core.config import ModelSpec
from core.results import Prediction
from pages.parts.shared import badge, classes, frame, square
from pages.server import images
from viz.predictions import agreement, agreement_sentence, top5_alone, top5_pair


def show(spec: ModelSpec, image_id: str, before: Prediction | None, said: Prediction) -> None:
    """The photo as the model sees it, and both answers; `before` is the dense model's, None: there is none here."""
    left, right = st.columns([1, 3], gap="medium")
    photo = images.view(spec, image_id)
    with left:
        square.show(image_id, spec.name)
    left.image(photo, width=260, output_format="JPEG", alt="The photo as the model sees it")
    with right:
        classes.note_if_unknown(image_id, said, *([before] if before else []))
        verdict(before, said)
        badge.weights_badge(spec)


def verdict(before: Prediction | None, said: Prediction) -> None:
    """Whether both say the same, and the top-5 of both; of the pruned one alone where there is no dense one here."""
    if before is None:
        frame.chart(top5_alone(said), "top5", f"The most likely is {said.top(1)[0].label}")
        st.markdown("The dense model that it was made of is not on this machine, so there is nothing to agree with.")
        return
    sentence = agreement_sentence(before, said)
    with st.container(key="answers"):
        if agreement(before, said).same_top1:
            st.info(sentence, icon=":material/equal:")
        else:
            st.warning(sentence, icon=":material/change_circle:")
    frame.chart(top5_pair(before, said), "top5", sentence)
