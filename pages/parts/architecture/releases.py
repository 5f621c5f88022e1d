"""Published architectures, to stand beside a derived one: no weights are needed, the counts are closed forms."""

from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.files.json_text import json_text
from core.methods import COMPACT
from core.models.description import published_description
from core.models.load import Loaded
from core.single_path.published import Published, architecture_of, block_macs, params_of, published
from pages.parts.shared import links, mac_counts
from pages.server import models
from viz.architecture import architecture_sentence, mixers_sentence
from viz.scrubber import Beside
from viz.theme import macs_number, percent

PAPER = "https://arxiv.org/abs/2111.11802"


def pick_published() -> Published | Loaded | None:
    """One of them, or a compact model that is here, picked by name, in the URL as `published`; None: no comparison."""
    here = [entry.name for entry in models.offered() if entry.kind == COMPACT and entry.available]
    names = [*published(), *(name for name in here if name not in published())]
    first = links.bring("published", None, links.one_of(names))
    name = st.selectbox(
        "Published network",
        names,
        index=first,
        key="published",
        bind="query-params",
        placeholder="None: all budgets",
        help="Networks for ImageNet that He et al. published, under their names: size, weight of the cost in the "
        "search (l), budget (t32 is 3.2 G). They are other networks than this model, and larger.",
    )
    return None if name is None else published().get(name) or models.loaded(ModelSpec(name))


def beside(found: Published | Loaded | None) -> Beside | None:
    """What the scrubber draws in place of its diagram."""
    if found is None:
        return None
    if isinstance(found, Loaded):
        name, made = found.spec.name, found.architecture
        note = f"This file: {macs_number(made.macs)} MACs, {percent(made.macs / made.dense_macs)} of dense"
        return Beside(Path(name).name, made, mac_counts.block_macs(name, [made])[0], note)
    architecture = architecture_of(found)
    share = percent(architecture.macs / architecture.dense_macs)
    note = f"Published: {macs_number(architecture.macs)} MACs, {share} of dense"
    return Beside(f"{found.name}, as published", architecture, block_macs(found), note)


def show_published(found: Published | Loaded) -> None:
    """Its figures, and a download."""
    if isinstance(found, Loaded):
        st.markdown(f"### {Path(found.spec.name).name}")
        st.markdown(f"**{architecture_sentence(found.architecture)}.** {mixers_sentence(found.architecture)}")
        return
    architecture, params = architecture_of(found), params_of(found)
    distilled = "not published" if found.top1_distilled is None else f"{100 * found.top1_distilled:.1f} %"
    of_dense, over = architecture.macs / architecture.dense_macs, architecture.macs / found.asked_macs - 1
    figures = (
        ("MACs, closed form", macs_number(architecture.macs), f"{percent(of_dense)} of dense"),
        ("MACs asked", macs_number(found.asked_macs), f"exceeded by {percent(over)}"),
        ("Parameters, compact", f"{params.compact / 1e6:.1f} M", f"{params.stored / 1e6:.1f} M stored for training"),
        ("Top-1, as published", f"{100 * found.top1:.1f} %", f"distilled: {distilled}"),
    )
    st.markdown(f"### {found.name}, as published")
    st.markdown(
        f"**{architecture_sentence(architecture)}.** {mixers_sentence(architecture)} What [He et al.]({PAPER}) found "
        "by search on ImageNet: MACs and parameters are counted here from the shapes alone, top-1 is as published."
    )
    with st.grid(4, min_column_width=150):
        for label, value, note in figures:
            st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True)
    text = json_text(published_description(found), indent=1)
    name = f"{found.name}.json"
    st.download_button(f"Download {name}", text, name, "application/json", icon=":material/download:")
