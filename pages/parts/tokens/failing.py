"""The Tokens page's challenge: at which keep ratio does this photo's answer flip, and which patch tipped it?"""

from collections.abc import Mapping
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.config import ModelSpec
from core.inference.tipping import Tipped, flip, lost_patches, tipping_patch
from core.results import TokenTrace
from pages.parts.shared import bound, frame, links, runs
from pages.parts.shared.selection import KEEP_STEPS, MODES
from pages.server import images, inference, keeping
from viz.theme import percent
from viz.tipping import flip_chart, flip_sentence, tipped_photo, tipped_sentence

Steps = Mapping[float, TokenTrace]
"""By keep ratio."""


def show(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    """A button; then the setting that fails, and the patch."""
    key = (spec.name, spec.blocks, image_id)
    st.markdown(
        f"**Make it fail.** The model runs at each of the slider's {len(KEEP_STEPS)} keep ratios. Where its answer "
        "first changes on the way down, each patch that this step lost is put back by itself, to see which tipped it."
    )
    place = st.empty()
    held = st.session_state.get("failing")
    if held is None or held[0] != key:
        if not place.button("Make it fail", icon=":material/bolt:", key="make_it_fail", type="primary"):
            return
        traces = _all_steps(spec, image_id, place)
        held = key, traces, _tipped(spec, image_id, traces, place)
        st.session_state["failing"] = held
        place.empty()
    _told(spec, image_id, *held[1:])


def _told(spec: ModelSpec, image_id: str, traces: Steps, tipped: Tipped | None) -> None:
    """What was found: a sentence, the patch on the photo, and the answer at each setting."""
    found = flip(traces)
    said = flip_sentence(traces, found)
    st.markdown(f"**{said}**")
    if found is None:
        frame.chart(flip_chart(traces, None), "flip_chart", said)
        return
    left, right = st.columns(2, gap="medium")
    with left:
        if tipped is None:
            st.markdown("Both settings keep the same patches, so no patch tipped it.")
        else:
            high, low = traces[found.right], traces[found.wrong]
            told = tipped_sentence(high, low, tipped, len(lost_patches(high, low)))
            picture = tipped_photo(images.view(ModelSpec(spec.name), image_id), low, tipped)
            st.image(picture, width="stretch", output_format="JPEG", alt=told)
            st.markdown(told)
    with right:
        frame.chart(flip_chart(traces, found), "flip_chart", said)
        st.button(
            f"Set the slider to {percent(found.wrong)}",
            icon=":material/tune:",
            key="set_to_failure",
            on_click=_set_slider,
            args=(found.wrong,),
        )
    if st.session_state.pop("failure_wanted", False):
        st.rerun()


def _set_slider(ratio: float) -> None:
    """The whole page shows the setting that fails."""
    links.put("method", MODES[0])
    bound.hold("keep", ratio)
    st.session_state["failure_wanted"] = True


def _tipped(spec: ModelSpec, image_id: str, traces: Steps, place: DeltaGenerator) -> Tipped | None:
    """The patch that tipped it; None where nothing flips, or no patch was lost."""
    found = flip(traces)
    if found is None:
        return None

    def tell(done: int, of: int) -> None:
        place.progress(done / of, f"Putting back patch {done + 1} of {of}.")

    run = partial(inference.decided_trace, keeping.keep_spec(spec.name, found.wrong, spec.blocks), image_id)
    return tipping_patch(traces[found.right], traces[found.wrong], run, tell)


def _all_steps(spec: ModelSpec, image_id: str, place: DeltaGenerator) -> Steps:
    """The traces of all keep ratios: those of the player where it has them, else they are run now."""
    ready = runs.prepared_steps((spec.name, spec.blocks), image_id)
    if ready is not None:
        return ready
    traces = {}
    for done, ratio in enumerate(KEEP_STEPS):
        place.progress(done / len(KEEP_STEPS), f"Keep ratio {done + 1} of {len(KEEP_STEPS)}.")
        traces[ratio] = inference.token_trace(keeping.keep_spec(spec.name, ratio, spec.blocks), image_id)
    return traces
