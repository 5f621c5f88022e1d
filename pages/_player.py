"""The token player: the photo stage by stage, by hand or by itself."""

import streamlit as st
from PIL import Image

from core.results import TokenTrace
from pages import _url
from viz.tokens import class_badge, package_swatch, pruned_photo, stage_sentence

SECONDS_PER_STAGE = 1.1
LEGEND = "Clear patches are kept; hatched ones were folded into the package of that colour, the dark ones earlier."


def show(photo: Image.Image, trace: TokenTrace) -> None:
    """The player, running by itself only while it plays; only its own part of the page is drawn again."""
    usual = _url.bring("stage", len(trace.blocks), _url.number(0, len(trace.blocks)))
    st.fragment(_player, run_every=SECONDS_PER_STAGE if st.session_state.get("playing") in ("start", "on") else None)(
        photo, trace, usual
    )


def _play() -> None:
    """Start from the input; the player moves on by itself."""
    st.session_state.update(stage=0, playing="start")
    st.rerun()


def _halt() -> None:
    """Stop moving on by itself."""
    if st.session_state.get("playing"):
        st.session_state["playing"] = None
        st.rerun()


def _player(photo: Image.Image, trace: TokenTrace, usual: int | None) -> None:
    """The photo at one stage, the stage control, and the packages so far; moves on by itself while playing."""
    last = len(trace.blocks)
    match st.session_state.get("playing"):
        case "start":
            st.session_state["playing"] = "on"
            usual = None  # the stage was set, and a widget takes its value from one place only
        case "on":
            usual = None
            st.session_state["stage"] = min(last, st.session_state.get("stage", 0) + 1)
            if st.session_state["stage"] == last:
                st.session_state["playing"] = "end"
                st.rerun()  # the whole page, or this would go on being drawn again and again
        case "end":
            usual = st.session_state["playing"] = None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        playing = st.session_state.get("playing")
        st.button(
            "Stop" if playing else "Play",
            icon=":material/stop:" if playing else ":material/play_arrow:",
            on_click=_halt if playing else _play,
            key="play",
        )
        name = "Stage: 0 is the input, then one per selector"
        stage = st.slider(name, 0, last, usual, key="stage", bind="query-params", on_change=_halt)
    stage = min(last, max(0, int(stage)))
    st.image(pruned_photo(photo, trace, stage), width="stretch", output_format="JPEG", alt=stage_sentence(trace, stage))
    st.markdown(f"**{stage_sentence(trace, stage)}**" + (f"  \n{LEGEND}" if stage else ""))
    with st.container(horizontal=True):
        chips = [(class_badge(), "Class token, always kept")]
        folded = (trace.package_weight > 0).sum(axis=1)
        chips += [(package_swatch(k), f"Package {k + 1} · {folded[k]} patches") for k in range(stage) if folded[k]]
        for swatch, text in chips:
            with st.container(border=True, horizontal=True, width="content", vertical_alignment="center", gap="small"):
                st.image(swatch, width=28, alt="")
                st.markdown(text, width="content")
