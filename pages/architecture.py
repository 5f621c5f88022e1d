"""What does each layer become?"""

import streamlit as st

from core.config import ModelSpec
from pages import _pickers, _published, _scrubber, _shared
from viz.architecture import mixers_sentence
from viz.predictions import agreement_sentence, top5_pair
from viz.theme import MIXER_WORDS, macs_number, percent

_shared.guard("pages/architecture.py", "pic", "model", "budget", "block")

st.title("What does each layer become?")
left, right = st.columns([3, 2], gap="medium")
with left:
    image_id = _pickers.pick_picture()
with right:
    name = _pickers.pick_model("singlepath")
with _shared.clear_errors():
    share, budget, block, chosen = _scrubber.scrub_budget(name)
st.markdown(mixers_sentence(chosen))
words = MIXER_WORDS
st.markdown(
    f"**{words['msa']}** is the block's own attention, **{words['conv3x3']}** and **{words['conv1x1']}** are "
    f"convolutions read out of its weights, **{words['skip']}** is no mixing. MACs are multiply-adds; papers write "
    "FLOPs for the same count."
)

st.markdown("#### What it says at this budget")
spec = ModelSpec(name, budget=budget)
dense = _shared.dense_of(name)
if not _shared.predicts(spec):
    st.warning(
        "The search for this model has not got far enough: the gates are shown, no prediction.",
        icon=":material/hourglass_top:",
    )
else:
    _shared.weights_badge(spec)
    with _shared.clear_errors():
        said = _shared.prediction(spec, image_id)
        before = _shared.prediction(ModelSpec(dense), image_id) if dense else said
        photo = _shared.view(spec, image_id)
    ran = _shared.loaded(spec).architecture
    if ran.macs != chosen.macs:
        st.markdown(
            f"Predictions run at calibrated budgets only: here the next one below, with {macs_number(ran.macs)} MACs "
            f"({percent(ran.macs / ran.dense_macs)} of dense)."
        )
    left, right = st.columns([1, 2], gap="medium")
    left.image(photo, width=320, output_format="JPEG", alt="The photo as the model sees it")
    with right:
        _shared.chart(top5_pair(before, said), "top5", agreement_sentence(before, said))
        st.markdown(agreement_sentence(before, said))

_published.show_published()
_shared.measure_after_paint(name)
