"""A and B on many photos: some at a time, so that one can stop; those on which they differ come first."""

import time

import streamlit as st

from core.errors import InputError
from core.inference.agreements import PhotoAgreement, changed_first, summary, to_csv
from core.inference.common_classes import CommonClasses
from pages.parts.pickers.many_files import Batch, Specs, batch, take_photos
from pages.parts.shared import runs
from viz.predictions import agreement_table
from viz.theme import percent

ASK = "Drop some photos, or a zip of them: both models answer for each, in place of the picture above."
Names = tuple[str, str]
SLICE_S = 0.4
"""Seconds of photos between two looks at the buttons."""
KEPT = 6
"""Pairs of models whose findings stay."""
CARDS = 12
"""Photos shown with a picture."""


def many_photos(specs: Specs, names: Names, common: CommonClasses) -> None:
    """The tab of many photos; `names` are what A and B are called."""
    if not common.comparable:
        st.info(f"{names[0]} and {names[1]} cannot be compared on many photos: they know other things.")
        return
    take_photos()
    if batch().photos:
        st.fragment(_compare, run_every=0.1 if st.session_state.get("comparing") else None)(specs, names)
    else:
        st.info(ASK, icon=":material/add_photo_alternate:")
    st.markdown("MACs are multiply-adds of each photo; papers write FLOPs for the same count.")


def _compare(specs: Specs, names: Names) -> None:
    """Buttons, the next few photos while it runs, and what was found so far."""
    own = batch()
    done = own.done.setdefault(specs, {})
    while len(own.done) > KEPT:
        own.done.pop(next(iter(own.done)))
    running, count = bool(st.session_state.get("comparing")), len(own.photos)
    if running:
        _next_slice(specs, own, done)
    with st.container(horizontal=True, vertical_alignment="center"):
        if running:
            st.button("Stop", on_click=_set, args=(False,), icon=":material/stop:", key="stop_many")
        else:
            label = f"Compare {count} photos" if not done else "Go on" if len(done) < count else "Compare again"
            st.button(label, on_click=_set, args=(True, own, specs), icon=":material/play_arrow:", key="go_many")
        if running or done:
            st.progress(len(done) / count, f"{len(done)} of {count} photos")
    if running and len(done) == count:
        st.session_state["comparing"] = False
        st.rerun()
    _findings(done, own, names)


def _set(running: bool, own: Batch | None = None, specs: Specs | None = None) -> None:
    """Start, go on, start again where all is done, or stop."""
    st.session_state["comparing"] = running
    if running and len(own.done.get(specs, {})) == len(own.photos):
        own.done[specs] = {}
    st.rerun()  # the whole page, or the fragment would go on by itself, or not begin to


def _next_slice(specs: Specs, own: Batch, done: dict) -> None:
    """Compare the next photos until the slice of time is over."""
    until = time.perf_counter() + SLICE_S
    for index, (name, data) in enumerate(own.photos):
        if index not in done:
            try:
                done[index] = runs.compared(specs, name, data)
            except InputError as error:
                done[index] = f"{name}: {error}"
            if time.perf_counter() > until:
                return


def _findings(done: dict, own: Batch, names: Names) -> None:
    """Three numbers, the photos on which both differ, the table, what could not be read."""
    for sentence in (found for found in done.values() if isinstance(found, str)):
        st.error(sentence, icon=":material/error:")
    small = {found[0]: found[1] for found in done.values() if not isinstance(found, str)}
    rows = changed_first(list(small))
    if not rows:
        return
    total, (a, b) = summary(rows), names
    with st.grid(3, min_column_width=180):
        said = f"{total.agreeing} of {total.photos} photos"
        st.metric(
            "Same first answer", percent(total.agreeing / total.photos), said, delta_color="off", delta_arrow="off",
            border=True, height="stretch",
        )  # fmt: skip
        st.metric(f"Mean KL of {b} from {a}, nats", f"{total.mean_kl_nats:.3f}", border=True, height="stretch")
        st.metric(f"MACs that {b} saves, mean", percent(total.mean_saved), border=True, height="stretch")
    _cards([row for row in rows if not row.agreement.same_top1], small, names)
    forms = {f"{a}, %": "%.0f", f"{b}, %": "%.0f", "KL, nats": "%.3f", f"MACs of {b}, % of {a}'s": "%.0f"}
    columns = {name: st.column_config.NumberColumn(format=form) for name, form in forms.items()}
    st.dataframe(agreement_table(rows, names), hide_index=True, column_config=columns)
    file = ("agreement.csv", "text/csv")
    st.download_button("Table as CSV", to_csv(rows, names), *file, on_click="ignore", icon=":material/download:")


def _cards(changed: list[PhotoAgreement], small: dict[PhotoAgreement, bytes], names: Names) -> None:
    """Photos on which B has another answer, each with its picture."""
    a, b = names
    if not changed:
        said = f"{b} gives the same first answer as {a} on every photo. Whether it is right, agreement does not say."
        st.info(said, icon=":material/equal:")
        return
    st.markdown(f"### {len(changed)} changed {'their' if len(changed) > 1 else 'its'} answer")
    with st.grid(6, min_column_width=150):
        for row in changed[:CARDS]:
            with st.container(border=True):
                st.image(small[row], width="stretch", alt=f"The photo {row.name}")
                st.markdown(
                    f"{a}: **{row.first_a.label}** {percent(row.first_a.prob)}  \n{b}: **{row.first_b.label}** "
                    f"{percent(row.first_b.prob)}"
                )
    if len(changed) > CARDS:
        st.markdown(f"The {CARDS} with the largest KL; all are in the table.")
