"""Which patches the answers of A and B rest on: computed only when a method is chosen."""

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.results import Prediction
from core.results.attributions import Attribution, Method
from pages.parts.shared import frame, links, runs
from pages.server import images
from viz.attribution import WORDS, attribution_map, how_made, likeness, scale_bar, shared_scale
from viz.predictions import top5_union

ABOUT: dict[Method, str] = {
    "gradients": "Each patch's part in the rise of the class's logit on the way from a grey picture to the photo "
    "([Sundararajan et al. 2017](https://arxiv.org/abs/1703.01365)).",
    "occlusion": "What the class's logit loses when the patch alone is covered with grey "
    "([Zeiler and Fergus 2014](https://arxiv.org/abs/1311.2901)).",
    "rollout": "Where the class token's attention reaches back to through all blocks, whatever the class "
    "([Abnar and Zuidema 2020](https://arxiv.org/abs/2005.00928)); a package's share goes to the patches in it.",
}
PIXELS = 300
"""Of the narrowest map: three side by side, or one below the other."""


def evidence(
    specs: tuple[ModelSpec, ModelSpec], image_id: str, said: tuple[Prediction, Prediction], usual: str | None
) -> None:
    """Method and class to choose; then A, B - A and B.

    Args:
        specs: A and B.
        image_id: The photo.
        said: What they say about it.
        usual: What `bring` gave for `cls`.
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
    if by not in methods:
        st.info("Choose a method: it runs on both models then, and takes a second or so.", icon=":material/search:")
        return
    method, label = methods[by], label if label in union else next(iter(union))
    found = []
    for letter, spec in zip("AB", specs, strict=True):
        try:
            found.append(runs.attributed(spec, image_id, union[label], method))
        except InputError as error:
            st.warning(f"{letter}: {error} Choose another method.", icon=":material/info:")
            return
    a, b = found
    if a.values.shape != b.values.shape:
        st.warning("A and B cut the photo into different patches, so their maps have no difference.")
        return
    st.markdown(ABOUT[method])
    _maps(specs, image_id, a, b, label)


def _maps(specs: tuple[ModelSpec, ModelSpec], image_id: str, a: Attribution, b: Attribution, label: str) -> None:
    """The three maps on one scale, and what must be known of them."""
    signed, unit = a.signed, "logits" if a.signed else "%"
    change = b.values - a.values
    scale = shared_scale(a.values, b.values, change) if signed else shared_scale(a.values, b.values)
    alike = likeness(a.values, b.values)
    what = f"for {label}" if signed else "attended to"
    shown = (
        (f"A, {what}", a.values, signed, specs[0], how_made(a)),
        ("Change, B \N{MINUS SIGN} A", change, True, specs[0], _alike_sentence(alike)),
        (f"B, {what}", b.values, signed, specs[1], how_made(b)),
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
        words = ("B attends less", "B attends more")
        frame.chart(scale_bar(scale, signed=True, unit=unit, words=words), "scale_change", "The scale of the change")


def _alike_sentence(alike: float | None) -> str:
    """How far both maps rank the patches alike."""
    if alike is None:
        return "One of the maps is flat, so there is nothing to rank."
    return f"Rank correlation of the two maps: {alike:.2f}; 1 if they rank all patches alike."
