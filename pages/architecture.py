"""What does each layer become?"""

import streamlit as st

from core.config import ModelSpec
from pages import _along, _classes, _pickers, _published, _shared
from viz.architecture import architecture_sentence, mixers_sentence, network, phase_diagram
from viz.predictions import agreement_sentence, top5_pair
from viz.theme import MIXER_WORDS, macs_number, percent

_shared.guard("pages/architecture.py", "pic", "model", "budget")
COLUMNS_APART = 10

st.title("What does each layer become?")
left, right = st.columns([3, 2], gap="medium")
with left:
    image_id = _pickers.pick_picture()
with right:
    name = _pickers.pick_model("singlepath")
with _shared.clear_errors():
    share, budget = _pickers.pick_budget(name)
    chosen = _shared.architecture(name, budget)
    shares = sorted(
        {
            share,
            *(s for s in range(100, 0, -COLUMNS_APART) if s / 100 * chosen.dense_macs >= _shared.reachable(name)[0]),
        }
    )
    crowded = [s for s in shares if s == share or abs(s - share) > COLUMNS_APART / 2 - 1]
    diagram = [_shared.architecture(name, chosen.dense_macs * s / 100) for s in crowded]

st.subheader(architecture_sentence(chosen))
st.markdown(mixers_sentence(chosen))
closed = chosen.step_macs is not None
figures = (
    ("MACs asked", macs_number(chosen.asked_macs), f"{share} % of dense"),
    ("MACs achieved", macs_number(chosen.macs), f"{percent(chosen.macs / chosen.dense_macs)} of dense"),
    (
        "MACs of the last gate closed",
        macs_number(chosen.step_macs) if closed else "nothing closed",
        "the budget is missed by less" if closed else "this is the dense network",
    ),
)
with st.grid(3, min_column_width=180):
    for label, value, note in figures:
        st.metric(label, value, note, delta_color="off", delta_arrow="off", border=True)

left, right = st.columns(2, gap="medium")
with left:
    st.markdown("#### The network at this budget")
    _shared.chart(network(chosen, _shared.block_macs(name, chosen)), "network", architecture_sentence(chosen))
with right:
    st.markdown("#### All budgets at once")
    alt = f"Mixer of each block at {len(crowded)} budgets; {share} % is framed"
    _shared.chart(phase_diagram(diagram, [str(s) for s in crowded], crowded.index(share)), "phase", alt)
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
        _classes.note_if_unknown(said)

_published.show_published()
_along.take_along({"This budget": spec}, image_id, ("describe", "predict"))
