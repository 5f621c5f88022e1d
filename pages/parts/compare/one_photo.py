"""Two models on one photo: the verdict, and both pictures beside both answers."""

import streamlit as st

from core.config import ModelSpec
from core.inference.agreements import agreement
from core.inference.common_classes import CommonClasses, on_common
from core.results import Prediction
from pages.parts.compare import evidence
from pages.parts.compare.choose_sides import answer, selects_tokens
from pages.parts.shared import badge, classes, frame, links, mac_counts
from pages.parts.shared.selection import setting_text
from pages.server import images, inference, models
from viz.architecture import architecture_sentence, mixers_sentence
from viz.predictions import distance_word, headline, sureness_sentence, top5_alone, top5_pair, top5_union
from viz.theme import macs_text, percent, percent_more
from viz.tokens import pruned_photo, stage_sentence

WIDTHS = [8, 5]
"""Of both pictures, and of the answers."""
WIDTH = 250
"""Pixels of a picture on the page: with the controls above it both are on one screen of 1440 x 900."""
NARROW = 150
"""Pixels that a picture may have: on a phone, too, both stand side by side."""
PIXELS = 448
"""Of its side, for sharp screens."""
Pair = tuple[Prediction, Prediction]
Names = tuple[str, str]


def one_photo(specs: tuple[ModelSpec, ModelSpec], names: Names, common: CommonClasses, image_id: str) -> None:
    """The tab of one photo."""
    with frame.clear_errors():
        a, b = (answer(spec, image_id) for spec in specs)
        macs = [mac_counts.macs_of(spec, image_id).total for spec in specs]
    if not common.comparable:
        for name, said in zip(names, (a, b), strict=True):
            classes.note_if_unknown(image_id, said, key=name, who=name)
        _pictures(specs, names, image_id, macs)
        for key, name, said in zip(("top5", "top5 of b"), names, (a, b), strict=True):
            frame.chart(top5_alone(said, name), key, f"{name}: {said.top(1)[0].label}")
        return
    said = on_common(a, b, common)
    classes.note_if_unknown(image_id, *said, who="these models")
    _verdict(said, names, (a, b), common)
    pictures, answers = st.columns(WIDTHS, gap="medium")
    with st.container():  # below the pictures, and there before them
        _distances(said, names, macs)
    with pictures:
        _pictures(specs, names, image_id, macs)
    with answers:
        usual, marked = _answers(specs, names, image_id, said)
    evidence.evidence(specs, names, image_id, said, common, usual, marked)
    over = "all classes" if common.are_all else "the classes that both know"
    st.markdown(f"MACs are multiply-adds of this photo; papers write FLOPs for the same count. KL is over {over}.")


def _answers(specs: tuple[ModelSpec, ModelSpec], names: Names, image_id: str, said: Pair) -> tuple[str | None, str]:
    """The top-5 of both, and their time on request; what `bring` gave for `cls`, and the class that stands out."""
    st.markdown(f"### Top-5 of either, in {names[0]}'s order")
    union = list(top5_union(*said))
    if st.session_state.setdefault("cls_of", image_id) != image_id:  # another photo: what was explained is over
        st.session_state["cls_of"] = image_id
        links.put("cls", union[0])
    usual = links.bring("cls", union[0], links.one_of(union))
    now = st.session_state.get("cls", st.query_params.get("cls", union[0]))  # its pills are drawn further down
    alt = "; ".join(f"{x}: {p.top(1)[0].label} {percent(p.top(1)[0].prob)}" for x, p in zip(names, said, strict=True))
    figure = top5_pair(*said, names=names, moves=True, chosen=now)
    frame.chart(figure, "top5", alt, on_select=_clicked, selection_mode="points")
    sizes = {models.loaded(ModelSpec(spec.name)).card.geometry.img_size for spec in specs}
    if len(sizes) == 1:
        frame.latency_panel(
            dict(zip(names, specs, strict=True)), image_id, f"{names[1]} is slower than {names[0]} here"
        )
    else:
        st.markdown("They take pictures of different sizes, so they are not timed side by side.")
    return usual, now


def _clicked() -> None:
    """A bar was clicked: its class is the one to explain."""
    points = st.session_state["top5"].selection.points
    if points:
        links.put("cls", points[0]["y"])


def _verdict(said: Pair, names: Names, alone: Pair, common: CommonClasses) -> None:
    """What both say and how sure they are: the pictures come next, and then the numbers.

    Args:
        said: Over the common classes.
        names: What the models are called.
        alone: Over all classes of each.
        common: Which of them are common.
    """
    with st.container(key="answers"):
        st.header(headline(*said, names), anchor=False)
        sentences = [sureness_sentence(*said, names)]
        for name, every, places in zip(names, alone, (common.a, common.b), strict=True):
            first = every.top(1)[0]
            if first.index not in places:
                sentences.append(f"Over all of its classes {name} says {first.label} ({percent(first.prob)}).")
        st.markdown(" ".join(sentences))


def _distances(said: Pair, names: Names, macs: list[int]) -> None:
    """How far both are apart, and what they cost."""
    found, (a, b) = agreement(*said), names
    with st.grid(2, min_column_width=220):  # the whole of their labels
        st.metric(
            f"KL of {b} from {a}, nats",
            f"{found.kl_nats:.3f}",
            distance_word(found.kl_nats),
            delta_color="off",
            delta_arrow="off",
            border=True,
            height="stretch",
            help=f"How far {b}'s probabilities are from {a}'s, over all classes compared; 0 if they are the same",
        )
        st.metric(f"MACs of {b} against {a}", percent_more(macs[1] / macs[0]), border=True, height="stretch")


def _pictures(specs: tuple[ModelSpec, ModelSpec], names: Names, image_id: str, macs: list[int]) -> None:
    """What both see of the photo, side by side; once where nothing is left out of it."""
    same = {selects_tokens(spec) for spec in specs} == {False}
    sizes = {models.loaded(ModelSpec(spec.name)).card.geometry.img_size for spec in specs}
    with st.grid(2, min_column_width=NARROW):
        for index, (name, spec, cost) in enumerate(zip(names, specs, macs, strict=True)):
            with st.container():
                _side(name, spec, image_id, cost, is_pictured=not (same and index and len(sizes) == 1))


def _side(name: str, spec: ModelSpec, image_id: str, cost: int, *, is_pictured: bool) -> None:
    """What one model sees of the photo, and what it costs."""
    model = models.loaded(ModelSpec(spec.name))
    st.markdown(f"### {name} · {macs_text(cost)}")
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
    if is_pictured:
        st.image(photo, width=WIDTH, output_format="JPEG", alt=sentence)
    is_said = name not in "AB" or cost == model.dense_macs  # one of two is dense, and the other held against it
    share = "" if is_said else f"{percent(cost / model.dense_macs)} of the dense multiply-adds. "
    st.markdown(f"{setting_text(spec)}{share}{sentence}")
    badge.weights_badge(spec)
