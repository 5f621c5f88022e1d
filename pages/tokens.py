"""Which patches does the model keep?"""

import streamlit as st

from core.config import ModelSpec
from pages import _along, _classes, _pickers, _player, _shared, _url
from viz.cost import saving_sentence
from viz.predictions import agreement, agreement_sentence, top5_pair
from viz.theme import macs_number
from viz.tokens import tokens_per_block

_shared.guard("pages/tokens.py", "pic", "model", "method", "keep", "stage")
MODES = ("The model", "Keep ratio")


st.title("Which patches does the model keep?")
left, right = st.columns([3, 2], gap="medium")
with left:
    image_id = _pickers.pick_picture()
with right:
    name = _pickers.pick_model("tokens")
with left:
    usual = _url.bring("method", MODES[0], _url.one_of(MODES))
    mode = st.segmented_control(
        "Who decides",
        MODES,
        default=usual,
        key="method",
        bind="query-params",
        required=True,
        help="The model's own decision differs from photo to photo; a keep ratio forces the same number of patches.",
    )
with right:
    if mode == "Keep ratio":
        ratio = _pickers.pick_keep()

with _shared.clear_errors():
    spec = _shared.keep_spec(name, ratio) if mode == "Keep ratio" else ModelSpec(name)
    trace = _shared.token_trace(spec, image_id)
    dense = _shared.dense_of(name)
    said = _shared.prediction(ModelSpec(dense), image_id) if dense else None
    photo = _shared.view(spec, image_id)

st.subheader(saving_sentence(trace.macs.total, trace.dense_macs))
left, right = st.columns([4, 5], gap="medium")
with left:
    _player.show(photo, trace)
with right:
    _shared.weights_badge(spec)
    _classes.note_if_unknown(trace.prediction)
    saved = trace.macs.total / trace.dense_macs - 1
    with st.grid(3, min_column_width=150):
        st.metric(
            "MACs, this photo",
            macs_number(trace.macs.total),
            f"{saved * 100:+.0f} %",
            delta_color="inverse",
            border=True,
        )
        st.metric("MACs, dense", macs_number(trace.dense_macs), border=True, height="stretch")
        st.metric("Tokens at the end", f"{trace.tokens[-1]} of {trace.tokens[0]}", border=True, height="stretch")
    if said is not None:
        same = agreement(said, trace.prediction).same_top1
        (st.success if same else st.warning)(
            agreement_sentence(said, trace.prediction),
            icon=":material/check_circle:" if same else ":material/change_circle:",
        )
        _shared.chart(top5_pair(said, trace.prediction), "top5", agreement_sentence(said, trace.prediction))
        _shared.latency_panel({"Dense": ModelSpec(dense), "Pruned": spec}, image_id)

st.markdown("#### Tokens that each block computes")
_shared.chart(tokens_per_block(trace), "per_block", f"{trace.tokens[-1]} tokens in the last block")
st.markdown(
    "MACs are multiply-adds; papers write FLOPs for the same count. Selectors and package tokens are counted in."
)
_along.take_along({"Dense": ModelSpec(dense), "Pruned": spec} if dense else {"Pruned": spec}, image_id)
