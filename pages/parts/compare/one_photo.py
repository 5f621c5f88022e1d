"""A and B on one photo: the verdict, and A | change | B on the same scales."""

import streamlit as st

from core.config import ModelSpec
from core.inference.agreements import agreement
from core.results import Prediction
from pages.parts.compare import evidence
from pages.parts.compare.choose_sides import answer, selects_tokens
from pages.parts.shared import badge, classes, frame, links, mac_counts
from pages.parts.shared.selection import setting_text
from pages.server import images, inference, models
from viz.architecture import architecture_sentence, mixers_sentence
from viz.predictions import distance_word, top5_pair, top5_union
from viz.theme import macs_text, percent
from viz.tokens import pruned_photo, stage_sentence

SIDES = [4, 5, 4]
"""Widths of A, change and B."""
WIDTH = 280
"""Pixels of a picture on the page: with the controls above it both are on one screen of 1440 x 900."""
PIXELS = 448
"""Of its side, for sharp screens."""


def one_photo(specs: tuple[ModelSpec, ModelSpec], image_id: str) -> None:
    """The tab of one photo."""
    with frame.clear_errors():
        said = tuple(answer(spec, image_id) for spec in specs)
        macs = [mac_counts.macs_of(spec, image_id).total for spec in specs]
    _verdict(said)
    left, middle, right = st.columns(SIDES, gap="medium")
    with st.container():  # below the pictures, and there before them
        _distances(said, macs)
    for column, letter, spec, cost in zip((left, right), "AB", specs, macs, strict=True):
        with column:
            _side(letter, spec, image_id, cost)
    with middle:
        st.markdown("### Top-5 of either, in A's order")
        names = list(top5_union(*said))
        if st.session_state.setdefault("cls_of", image_id) != image_id:  # another photo: what was explained is over
            st.session_state["cls_of"] = image_id
            links.put("cls", names[0])
        usual = links.bring("cls", names[0], links.one_of(names))
        now = st.session_state.get("cls", st.query_params.get("cls", names[0]))  # its pills are drawn further down
        alt = "; ".join(f"{x}: {p.top(1)[0].label} {p.top(1)[0].prob:.0%}" for x, p in zip("AB", said, strict=True))
        figure = top5_pair(*said, names=("A", "B"), moves=True, chosen=now)
        frame.chart(figure, "top5", alt, on_select=_clicked, selection_mode="points")
        sizes = {models.loaded(ModelSpec(spec.name)).card.geometry.img_size for spec in specs}
        if len(sizes) == 1:
            frame.latency_panel({"A": specs[0], "B": specs[1]}, image_id, "B is slower than A here")
        else:
            st.markdown("A and B take pictures of different sizes, so they are not timed side by side.")
    evidence.evidence(specs, image_id, said, usual)
    st.markdown("MACs are multiply-adds of this photo; papers write FLOPs for the same count. KL is over all classes.")


def _clicked() -> None:
    """A bar was clicked: its class is the one to explain."""
    points = st.session_state["top5"].selection.points
    if points:
        links.put("cls", points[0]["y"])


def _verdict(said: tuple[Prediction, Prediction]) -> None:
    """One line: the pictures come next, and then the numbers."""
    found = agreement(*said)
    first, other = (prediction.top(1)[0] for prediction in said)
    with st.container(key="answers"):
        if found.same_top1:
            st.header(f"Both say {first.label}", anchor=False)
        else:
            st.header(f"A says {first.label}, B says {other.label}", anchor=False)


def _distances(said: tuple[Prediction, Prediction], macs: list[int]) -> None:
    """How far A and B are apart, in four numbers."""
    found = agreement(*said)
    with st.grid(4, min_column_width=150):
        st.metric("Same first answer", "yes" if found.same_top1 else "no", border=True, height="stretch")
        st.metric("Rank of A's answer in B", str(found.rank_in_b), border=True, height="stretch")
        st.metric(
            "KL of B from A, nats",
            f"{found.kl_nats:.3f}",
            distance_word(found.kl_nats),
            delta_color="off",
            delta_arrow="off",
            border=True,
            height="stretch",
            help="How far B's probabilities are from A's, over all classes; 0 if they are the same",
        )
        change = f"{(macs[1] / macs[0] - 1) * 100:+.0f} %".replace("-", "\N{MINUS SIGN}")
        st.metric("MACs of B against A", change, border=True, height="stretch")


def _side(letter: str, spec: ModelSpec, image_id: str, cost: int) -> None:
    """What one side sees of the photo, and what it costs."""
    model = models.loaded(ModelSpec(spec.name))
    st.markdown(f"### {letter} · {macs_text(cost)}")
    photo = images.view(ModelSpec(spec.name), image_id)
    if selects_tokens(spec):
        trace = inference.token_trace(spec, image_id)
        last = len(trace.blocks)
        sentence = stage_sentence(trace, last)
        photo = pruned_photo(photo, trace, last, PIXELS)
    else:
        sentence = f"All {model.card.geometry.patches} patches go through every block."
        if made := models.loaded(spec).architecture:
            sentence += f" {architecture_sentence(made)}. {mixers_sentence(made)}"
    st.image(photo, width=WIDTH, output_format="JPEG", alt=sentence)
    st.markdown(f"{setting_text(spec)}{percent(cost / model.dense_macs)} of the dense multiply-adds. {sentence}")
    badge.weights_badge(spec)
    classes.note_if_unknown(image_id, answer(spec, image_id), key=letter)
