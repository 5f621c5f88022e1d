"""The badge that says which weights run, how good they are, and what the model knows."""

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.evaluation import recorded
from core.models.releases.files import ELSEWHERE
from core.results import Recorded
from pages.parts.shared import classes, model_facts, recorded_rows
from pages.server import models

GREYED = "filter: grayscale(1); opacity: 0.55;"
"""How answers look that mean nothing."""


def weights_badge(spec: ModelSpec) -> None:
    """Say which weights run, whether they were ever trained, how good this setting is, and what the model knows."""
    card = models.loaded(spec).card
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _badge(spec)
        if model_facts.never_trained(spec):
            st.html(f"<style>.st-key-top5, .st-key-answers {{ {GREYED} }}</style>")
        if row := recorded.row_of(recorded_rows.all_rows(spec.name), spec):
            st.markdown(f"{100 * row.top1:.1f} % top-1 at this setting", help=_recorded_help(row), width="content")
        with st.popover(f"Knows {len(card.classes):,} classes", type="tertiary"):
            st.markdown("Of any other thing it names the most similar of these.")
            classes.list_classes(card.classes)


def weights_line(specs: Iterable[ModelSpec]) -> None:
    """Say of each of some models which weights run, and whether they were ever trained."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for spec in specs:
            _badge(spec)


def _badge(spec: ModelSpec) -> None:
    card = models.loaded(spec).card
    name = Path(spec.name).name  # of a file without its folder
    if model_facts.never_trained(spec):
        st.badge(f"Never trained, its answers mean nothing: {name}", icon=":material/warning:", color="red")
    elif card.selectors is not None and card.selectors.ranked:
        st.badge(f"Ranked by attention, not trained: {name}", icon=":material/visibility:", color="blue")
    elif card.only_scored:
        st.badge(f"Scored, not trained: {name}", icon=":material/calculate:", color="blue")
    elif card.selectors is not None and not card.selectors.trained:
        st.badge(f"Selectors not trained yet: {name}", icon=":material/warning:", color="orange")
    elif card.training == ELSEWHERE and model_facts.source_of(spec.name) == "file":
        st.badge(f"Weights from a file: {name}", icon=":material/draft:", color="blue")
    else:
        st.badge(f"Real trained weights: {name}", icon=":material/verified:", color="green")
    for note in card.notes:
        st.caption(f":material/info: {note}")


def _recorded_help(row: Recorded) -> str:
    points = 100 * recorded.margin(row)
    return (
        f"How often its first answer is right. Recorded on {row.images:,} validation photos; {points:.1f} points more "
        "or less by chance (95 %)."
    )
