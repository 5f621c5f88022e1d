"""A and B on many photos: some at a time, so that one can stop; those on which they differ come first."""

import time

import streamlit as st

from core.errors import InputError
from core.inference.agreements import PhotoAgreement, changed_first, summary, to_csv
from pages.parts.pickers.many_files import Batch, Specs, batch, take_photos
from pages.parts.shared import runs
from viz.predictions import agreement_table
from viz.theme import percent

ASK = "Drop some photos, or a zip of them: A and B answer for each, in place of the picture above."
SLICE_S = 0.4
"""Seconds of photos between two looks at the buttons."""
KEPT = 6
"""Pairs of models whose findings stay."""
CARDS = 12
"""Photos shown with a picture."""


def many_photos(specs: Specs) -> None:
    """The tab of many photos."""
    take_photos()
    if batch().photos:
        st.fragment(_compare, run_every=0.1 if st.session_state.get("comparing") else None)(specs)
    else:
        st.info(ASK, icon=":material/add_photo_alternate:")
    st.markdown("MACs are multiply-adds of each photo; papers write FLOPs for the same count.")


def _compare(specs: Specs) -> None:
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
    _findings(done, own)


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


def _findings(done: dict, own: Batch) -> None:
    """Three numbers, the photos on which A and B differ, the table, what could not be read."""
    for sentence in (found for found in done.values() if isinstance(found, str)):
        st.error(sentence, icon=":material/error:")
    small = {found[0]: found[1] for found in done.values() if not isinstance(found, str)}
    rows = changed_first(list(small))
    if not rows:
        return
    total = summary(rows)
    with st.grid(3, min_column_width=180):
        said = f"{total.agreeing} of {total.photos} photos"
        st.metric(
            "Same first answer", percent(total.agreeing / total.photos), said, delta_color="off", delta_arrow="off",
            border=True, height="stretch",
        )  # fmt: skip
        st.metric("Mean KL of B from A, nats", f"{total.mean_kl_nats:.3f}", border=True, height="stretch")
        st.metric("MACs that B saves, mean", percent(total.mean_saved), border=True, height="stretch")
    _cards([row for row in rows if not row.agreement.same_top1], small)
    st.dataframe(agreement_table(rows), hide_index=True, column_config={
        name: st.column_config.NumberColumn(format=form)
        for name, form in (("A, %", "%.0f"), ("B, %", "%.0f"), ("KL, nats", "%.3f"), ("MACs of B, % of A's", "%.0f"))
    })  # fmt: skip
    file = ("agreement.csv", "text/csv")
    st.download_button("Table as CSV", to_csv(rows), *file, on_click="ignore", icon=":material/download:")


def _cards(changed: list[PhotoAgreement], small: dict[PhotoAgreement, bytes]) -> None:
    """Photos on which B has another answer, each with its picture."""
    if not changed:
        said = "B gives the same first answer as A on every photo. Whether it is the right one, agreement does not say."
        st.success(said, icon=":material/check_circle:")
        return
    st.markdown(f"### {len(changed)} changed {'their' if len(changed) > 1 else 'its'} answer")
    with st.grid(6, min_column_width=150):
        for row in changed[:CARDS]:
            with st.container(border=True):
                st.image(small[row], width="stretch", alt=f"The photo {row.name}")
                st.markdown(
                    f"A: **{row.first_a.label}** {percent(row.first_a.prob)}  \nB: **{row.first_b.label}** "
                    f"{percent(row.first_b.prob)}"
                )
    if len(changed) > CARDS:
        st.markdown(f"The {CARDS} with the largest KL; all are in the table.")
