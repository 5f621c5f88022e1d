"""Which patches the answers of two models rest on: computed only when a method is chosen."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.config import ModelSpec
from core.errors import InputError
from core.inference.common_classes import CommonClasses
from core.inference.evidence import divided
from core.results import Prediction
from core.results.attributions import Attribution, Method
from pages.parts.compare.choose_sides import selects_tokens
from pages.parts.shared import frame, links
from pages.server import images, inference
from viz.attribution import (
    WORDS,
    attribution_map,
    how_made,
    likeness,
    likeness_word,
    scale_bar,
    shared_scale,
    why_sentence,
)
from viz.predictions import top5_union
from viz.theme import MINUS

ABOUT: dict[Method, str] = {
    "gradients": "Each patch's part in the rise of the class's logit on the way from a grey picture to the photo "
    "([Sundararajan et al. 2017](https://arxiv.org/abs/1703.01365)). Evidence for a class is what is above 0.",
    "occlusion": "What the class's logit loses when the patch alone is covered with grey "
    "([Zeiler and Fergus 2014](https://arxiv.org/abs/1311.2901)). Evidence for a class is what is above 0.",
    "rollout": "Where the class token's attention reaches back to through all blocks, whatever the class "
    "([Abnar and Zuidema 2020](https://arxiv.org/abs/2005.00928)); a package's share goes to the patches in it.",
}
PIXELS = 300
"""Of the narrowest map: three side by side, or one below the other."""
Pair = tuple[Attribution, Attribution]


@st.fragment
def evidence(
    specs: tuple[ModelSpec, ModelSpec],
    names: tuple[str, str],
    image_id: str,
    said: tuple[Prediction, Prediction],
    common: CommonClasses,
    usual: str | None,
    marked: str,
) -> None:
    """Method and class to choose; then why both say what they say, in a sentence, and A, B - A and B.

    A fragment: who chooses a method sees at once that it is being computed.

    Args:
        specs: A and B.
        names: What they are called.
        image_id: The photo.
        said: What they say about it, over the common classes.
        common: Which those are.
        usual: What `bring` gave for `cls`.
        marked: The class that stands out in the chart of answers.
    """
    st.markdown("### Which patches do the answers rest on?")
    union = top5_union(*said)
    methods = {word: method for method, word in WORDS.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = links.bring("by", None, links.one_of(list(methods)))
        by = st.segmented_control("Method", list(methods), default=first, key="by", bind="query-params", wrap=True)
        label = st.pills(
            "Class, or click a bar above",
            list(union),
            default=usual,
            key="cls",
            bind="query-params",
            required=True,
            wrap=True,
            disabled=by == WORDS["rollout"],
        )
    if label in union and label != marked:
        st.rerun()  # the whole page: another bar stands out
    if by not in methods:
        st.session_state.pop("explained", None)
        st.info("Choose a method: it runs on both models then, and takes some seconds.", icon=":material/search:")
        return
    method, label = methods[by], label if label in union else next(iter(union))
    of = (specs, image_id, label, method)
    is_new = st.session_state.get("explained") != of
    place = st.empty() if is_new else st.container()  # what stood there goes when the first progress comes
    classes = tuple(places[union[label]] for places in (common.a, common.b))
    found = _found(specs, names, image_id, classes, method, place if is_new else None)
    if found is None:
        return
    st.session_state["explained"] = of
    with place.container() if is_new else place:
        if found[0].values.shape != found[1].values.shape:
            st.warning(
                f"{names[0]} and {names[1]} cut the photo into different patches, so their maps have no difference."
            )
            return
        st.markdown(f"**{_why(specs, names, image_id, said, label, found)}**")
        st.markdown(ABOUT[method])
        _maps(specs, names, image_id, found, label)


def _found(
    specs: tuple[ModelSpec, ModelSpec],
    names: tuple[str, str],
    image_id: str,
    classes: tuple[int, ...],
    method: Method,
    place: DeltaGenerator | None,
) -> Pair | None:
    """The attribution of both, with how far that is in `place`, if there is one; None where one has none: that is said.

    Progress stands in the place of what was there, and so takes it away: an empty container would not, since Streamlit
    sends a place that is emptied and filled again at once only as what it is filled with.
    """
    found = []
    for done, (name, spec, index) in enumerate(zip(names, specs, classes, strict=True)):
        if place is not None:
            place.progress(done / len(specs), f"{WORDS[method]}: computing for {name}, {done + 1} of {len(specs)} …")
        try:  # a rollout is the same for every class
            found.append(inference.attributed_once(spec, image_id, 0 if method == "rollout" else index, method))
        except InputError as error:
            (st if place is None else place).warning(f"{name}: {error} Choose another method.", icon=":material/info:")
            return None
    return found[0], found[1]


def _why(
    specs: tuple[ModelSpec, ModelSpec],
    names: tuple[str, str],
    image_id: str,
    said: tuple[Prediction, Prediction],
    label: str,
    found: Pair,
) -> str:
    """Why both say the same or not, as far as the attribution tells, in one sentence."""
    first, second = (prediction.top(1)[0] for prediction in said)
    agree, about_answer = first.index == second.index, label == next(iter(top5_union(*said)))
    opening = ("They agree: " if agree else "They differ: ") if about_answer else ""
    traces = [inference.token_trace(spec, image_id) if selects_tokens(spec) else None for spec in specs]
    keepers = [name for name, trace in zip(names, traces, strict=True) if trace is not None]
    if not keepers:
        alike = likeness(*(each.values for each in found))
        end = "but one of the maps is flat" if alike is None else f"and rank them {likeness_word(alike)}"
        return f"{opening}both see all {found[0].values.size} patches, {end}."
    other = next(trace for trace in traces if trace is not None)
    parts = [divided(each.values, trace or other) for each, trace in zip(found, traces, strict=True)]
    return why_sentence(opening, label if found[0].signed else None, names, keepers, parts)


def _maps(specs: tuple[ModelSpec, ModelSpec], names: tuple[str, str], image_id: str, found: Pair, label: str) -> None:
    """The three maps on one scale, and what must be known of them."""
    a, b = found
    signed, unit = a.signed, "logits" if a.signed else "%"
    change = b.values - a.values
    scale = shared_scale(a.values, b.values, change) if signed else shared_scale(a.values, b.values)
    alike = likeness(a.values, b.values)
    what = f"for {label}" if signed else "attended to"
    shown = (
        (f"{names[0]}, {what}", a.values, signed, specs[0], how_made(a)),
        (f"Change, {names[1]} {MINUS} {names[0]}", change, True, specs[0], _alike_sentence(alike)),
        (f"{names[1]}, {what}", b.values, signed, specs[1], how_made(b)),
    )
    with st.grid(3, min_column_width=PIXELS):
        for index, (title, values, has_sign, spec, note) in enumerate(shown):
            with st.container():
                st.markdown(f"**{title}**")
                view = images.view(ModelSpec(spec.name), image_id)
                figure = attribution_map(view, values, scale, signed=has_sign, unit=unit)
                frame.chart(figure, f"map{index}", f"{title}: {note}")
                st.markdown(note)
    words = (f"against {label}", f"for {label}") if signed else ("least", "most")
    frame.chart(scale_bar(scale, signed=signed, unit=unit, words=words), "scale", "The colour scale of the maps")
    if not signed:
        words = (f"{names[1]} attends less", f"{names[1]} attends more")
        frame.chart(scale_bar(scale, signed=True, unit=unit, words=words), "scale_change", "The scale of the change")


def _alike_sentence(alike: float | None) -> str:
    """How far both maps rank the patches alike."""
    if alike is None:
        return "One of the maps is flat, so there is nothing to rank."
    return f"Rank correlation of the two maps: {alike:.2f}, {likeness_word(alike)}; 1 if they rank all patches alike."
