"""The published architectures, as a section of a page: no weights are needed, the counts are closed forms."""

import streamlit as st

from core.published import architecture_of, block_macs, params_of, published
from pages import _shared, _url
from viz.architecture import architecture_sentence, mixers_sentence, network
from viz.theme import macs_number, percent

PAPER = "https://arxiv.org/abs/2111.11802"


def show_published() -> None:
    """One of them, picked by name; in the URL as `published`."""
    st.markdown("#### Published architectures")
    st.markdown(
        f"What [He et al.]({PAPER}) found by search on ImageNet: MACs and parameters are counted here from the shapes "
        "alone, top-1 is as published."
    )
    names = list(published())
    first = _url.bring("published", None, _url.one_of(names))
    name = st.selectbox(
        "Published architecture",
        names,
        index=first,
        key="published",
        bind="query-params",
        placeholder="Pick one",
        help="Their names for them: size, weight of the cost in the search (l), budget (t32 is 3.2 G).",
    )
    if name not in names:
        return
    found = published()[name]
    architecture, params = architecture_of(found), params_of(found)
    distilled = "not published" if found.top1_distilled is None else f"{100 * found.top1_distilled:.1f} %"
    of_dense, over = architecture.macs / architecture.dense_macs, architecture.macs / found.asked_macs - 1
    figures = (
        ("MACs, closed form", macs_number(architecture.macs), f"{percent(of_dense)} of dense"),
        ("MACs asked", macs_number(found.asked_macs), f"exceeded by {percent(over)}"),
        ("Parameters, compact", f"{params.compact / 1e6:.1f} M", f"{params.stored / 1e6:.1f} M stored for training"),
        ("Top-1, as published", f"{100 * found.top1:.1f} %", f"distilled: {distilled}"),
    )
    sentence = architecture_sentence(architecture)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**{sentence}.** {mixers_sentence(architecture)}")
        with st.grid(2, min_column_width=180):
            for label, value, note in figures:
                st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True)
    with right:
        _shared.chart(network(architecture, block_macs(found)), "published_network", sentence)
