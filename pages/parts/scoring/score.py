"""A dense model on the Architecture page: a button that puts gates into it and scores them, with nothing trained."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from core.single_path.score import LEAST_PHOTOS
from pages.parts.pickers import many_files
from pages.parts.scoring.scoring_job import Key, is_done, scoring
from pages.parts.shared import links, model_facts
from pages.parts.shared.progress import watch
from pages.server import queues

SAMPLES = "Sample pictures"
OWN = "Your photos"


def show_scoring(name: str) -> None:
    """What scoring is, on which photos, the button, its progress, and the way to what came of it."""
    st.markdown(
        "This model is dense: which of its layers it can do without is not known yet. **Scoring** finds out without "
        "training: each hidden unit of each FFN by how far the model's own answer moves when the unit stands at its "
        "mean, each attention by putting a 3x3 convolution, a 1x1 convolution or nothing in its place. No labels are "
        "needed. Then any budget can be set."
    )
    own = many_files.batch().photos
    photos = None
    if len(own) >= LEAST_PHOTOS:
        where = st.segmented_control("Score on", [SAMPLES, OWN], default=SAMPLES, key="score_on", required=True)
        photos = [data for _, data in own] if where == OWN else None
    else:
        st.caption(
            f"It runs on cuts of the sample pictures; load {LEAST_PHOTOS} or more photos of your own on Compare, under "
            "“Many photos”, to score on those."
        )
    key = (name, "" if photos is None else many_files.batch().fingerprint)
    found = queues.scorings().standing(key)
    if is_done(key):
        st.success("The gates are scored. Not trained: agreement with the dense model tells how good it is.")
        icon = ":material/account_tree:"
        st.button("Show its architecture", icon=icon, on_click=_open, args=(found.result,), type="primary")
        return
    if found is not None and found.under_way:
        queues.scorings().ask(key, queues.visitor(), partial(scoring, key, photos))
        watch(queues.scorings(), queues.scoring_shares(), key, "Scoring")
        return
    if found is not None and found.failure:
        st.error(found.failure, icon=":material/error:")
    elif found is not None and found.state == "cancelled":
        st.info("Scoring was cancelled.", icon=":material/info:")
    st.button(
        "Score its gates", key="score", icon=":material/calculate:", on_click=_start, args=(key, photos), type="primary"
    )
    st.markdown(f"In a terminal: `python -m core score --model {name} --out scored.safetensors --photos DIR`.")


def _open(path: str) -> None:
    """List the scored model in this session and choose it."""
    model_facts.open_file(path, st.session_state.get("class_names", {}).get(path))
    links.put("model", path)


def _start(key: Key, photos: Sequence[bytes] | None) -> None:
    queues.scorings().ask(key, queues.visitor(), partial(scoring, key, photos), again=True)
