"""Which method at which budget: each one on the model at hand, with nothing trained, behind a button."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.results.method_table import MethodTable
from pages.parts.budget.comparing import comparing
from pages.parts.pickers import many_files
from pages.parts.scoring.score import OWN, SAMPLES
from pages.parts.scoring.scoring_job import Key
from pages.parts.shared import frame, model_facts
from pages.parts.shared.progress import watch
from pages.server import images, queues
from viz.which_method import (
    agreement_lines,
    chart_words,
    doubt_sentence,
    leaders_sentence,
    method_table,
    times_sentence,
)

ABOUT = (
    "Four methods cut **{name}** to 80, 60 and 40 % of its multiply-adds with nothing trained, and each photo tells "
    "whether the first answer is still the same.\n"
    "- **Tokens**: patches ranked by attention, not trained.\n"
    "- **Single path**: gates scored, not trained.\n"
    "- **Joint**: half of the saving by scored gates, the rest by ranked patches; neither trained.\n"
    "- **ToMe**: similar tokens merged, which needs no training.\n\n"
    "Agreement with dense is not accuracy, and training would help the first three."
)


def show_methods(name: str) -> None:
    """The section: what it asks, on which photos, the button, its progress, and what came of it."""
    st.markdown("## Which method at which budget?")
    dense = model_facts.dense_of(name)
    if dense is None:
        st.info(
            f"{Path(name).name} is pruned, and the dense model that it was made of is not on this machine, so "
            "there is nothing to compare the methods on; open that one under **Other models**.",
            icon=":material/info:",
        )
        return
    st.markdown(ABOUT.format(name=Path(dense).name))
    if model_facts.never_trained(ModelSpec(dense)):
        st.warning("It was never trained: its answers mean nothing, and neither does agreement with them.")
    photos = _pick_photos()
    key = (dense, "" if photos is None else many_files.batch().fingerprint)
    count = len(images.samples() if photos is None else photos)
    jobs = queues.comparisons()
    found = jobs.standing(key)
    if found is not None and found.under_way:
        jobs.ask(key, queues.visitor(), partial(comparing, key, photos))
        watch(jobs, queues.comparing_shares(), key, "Comparing")
        return
    if found is not None and found.failure:
        st.error(found.failure, icon=":material/error:")
    elif found is not None and found.state == "cancelled":
        st.info("The comparison was cancelled.", icon=":material/info:")
    done = found is not None and found.result is not None
    label = f"Compare the methods on {count} photo{'s' * (count != 1)}{' again' * done}"
    st.button(label, key="which", icon=":material/balance:", on_click=_start, args=(key, photos))
    if done:
        _show(*found.result, count, own=photos is not None)


def _pick_photos() -> list[bytes] | None:
    """The person's own photos; None: the samples."""
    own = many_files.batch().photos
    where = OWN
    if own:
        where = st.segmented_control("Compare on", [SAMPLES, OWN], default=OWN, key="which_on", required=True)
    with st.expander("Photos of your own", icon=":material/add_photo_alternate:"):
        many_files.take_photos(samples=False)
    return [data for _, data in own] if own and where == OWN else None


def _start(key: Key, photos: Sequence[bytes] | None) -> None:
    jobs = queues.comparisons()
    if jobs.result(key) is not None:
        jobs.forget(lambda other: other == key)
    jobs.ask(key, queues.visitor(), partial(comparing, key, photos), again=True)


def _show(table: MethodTable, scored_on: str, asked: int, *, own: bool) -> None:
    """The sentence, the chart, the table, and what one must know of them."""
    st.markdown(f"{leaders_sentence(table)} {doubt_sentence(table)}")
    if table.photos < asked:
        st.warning(f"Skipped {asked - table.photos} of the {asked} files, which cannot be read.")
    frame.chart(agreement_lines(table), "which method", chart_words(table))
    st.html(method_table(table))
    same = bool(scored_on) == own
    st.markdown(
        ("Gates were scored on these photos" if own else "Gates were scored on cuts of these pictures")
        + ", which flatters single path and joint a little. "
        if same
        else "Gates were scored on cuts of the sample pictures, none of these photos. "
    )
    if said := times_sentence(table):
        st.markdown(said)
