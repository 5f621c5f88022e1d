"""Which patches does the model keep?"""

import streamlit as st

from core.config import ModelSpec
from core.methods import DENSE, JOINT, TOKENS
from pages.parts.pickers import choose
from pages.parts.shared import (
    along,
    answers,
    badge,
    classes,
    frame,
    mac_counts,
    model_facts,
    pictures,
    player,
    runs,
    selection,
    square,
)
from pages.parts.tokens import tabs
from pages.server import images, inference
from viz.blocks import macs_per_block, tokens_per_block
from viz.cost import saving_sentence
from viz.theme import macs_number, macs_text, percent_more

frame.guard("pages/tokens.py", "pic", "model", "method", "keep", "threshold", "mass", "blocks", "stage", "token")

st.title("Which patches does the model keep?")
left, right = st.columns([3, 2], gap="medium")
with left:
    image_id = choose.pick_picture()
with right:
    name = choose.pick_model(TOKENS, JOINT, DENSE)
with left, st.container(horizontal=True, vertical_alignment="bottom"):
    mode = selection.pick_mode(name)
    square.show(image_id, name)
with right:
    spec, ratio = selection.pick_spec(name, mode)
classes.mark_samples(name)
if pictures.waiting():
    st.stop()

with frame.clear_errors():
    trace = inference.token_trace(spec, image_id)
    dense = model_facts.dense_of(name)
    said = inference.prediction(ModelSpec(dense), image_id) if dense else None
    steps = None if ratio is None else runs.prepared_steps((name, spec.blocks), image_id)

st.header(selection.setting_text(spec) + saving_sentence(trace.macs.total, trace.dense_macs))
left, right = st.columns([3, 2], gap="medium")
with left:
    player.show(images.photo_url(name, image_id), trace, ratio, steps)
    below = st.empty()  # the legend, or how far the preparation is
    below.markdown(f"{player.LEGEND} {player.HOW_TO_READ}")
with right:
    badge.weights_badge(spec)
    saved = trace.macs.total / trace.dense_macs - 1
    with st.grid(3, min_column_width=150):
        st.metric(
            "MACs, this photo",
            macs_number(trace.macs.total),
            percent_more(1 + saved),
            delta_color="green" if saved < 0 else "red",
            delta_arrow="down" if saved < 0 else "up",
            border=True,
        )
        st.metric("MACs, dense", macs_number(trace.dense_macs), border=True, height="stretch")
        st.metric(
            "Tokens left",
            f"{trace.tokens[-1]} of {trace.tokens[0]}",
            border=True,
            height="stretch",
            help=f"The kept patches{f', {trace.first}' if trace.first else ''}, and a package token for each selector "
            "that folded something.",
        )
    classes.note_if_unknown(image_id, trace.prediction, *([said] if said else []))
    answers.verdict(said, trace.prediction)
    specs = {"Dense": ModelSpec(dense), "Pruned": spec} if dense else {"Pruned": spec}
    frame.latency_panel(specs, image_id)

left, right = st.columns(2, gap="medium")
with left:
    st.markdown("### Tokens that each block computes")
    frame.chart(tokens_per_block(trace), "per_block", f"{trace.tokens[-1]} tokens in the last block")
with right:
    st.markdown("### Multiply-adds of each block")
    counts = mac_counts.macs_per_block(spec, image_id)
    least, most = (macs_text(pick(count.total for count in counts)) for pick in (min, max))
    frame.chart(
        macs_per_block(trace, counts, mac_counts.dense_block(name)), "macs_per_block", f"Blocks of {least} to {most}"
    )
st.markdown(
    "MACs are multiply-adds; papers write FLOPs for the same count. A selector's cost is counted in the block "
    "after it; with the patch embedding and the head, the blocks sum up to this photo's MACs."
)
tabs.show(spec, image_id, trace)
along.take_along(specs, image_id)
if ratio is not None and steps is None and st.session_state.get("wants_steps"):  # somebody came to the slider
    selection.prepare(below, name, image_id, spec.blocks)
