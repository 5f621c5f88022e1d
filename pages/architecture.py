"""What does each layer become?"""

from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.files.json_text import json_text
from core.methods import DENSE, GATED, JOINT
from core.models.description import description
from pages.parts.architecture import block, fixed, releases, scrubber, search
from pages.parts.pickers import choose
from pages.parts.scoring import score
from pages.parts.shared import along, answers, badge, classes, frame, model_facts, pictures
from pages.parts.timing import part_times
from pages.server import inference, models
from viz.architecture import mixers_sentence
from viz.theme import MIXER_WORDS, macs_number, percent, percent_text

frame.guard("pages/architecture.py", "pic", "model", "budget", "block")

st.title("What does each layer become?")
left, middle, right = st.columns([73, 34, 17.8], gap="small")
with left:
    image_id = choose.pick_picture()
with middle:
    name = choose.pick_model(GATED, JOINT, DENSE)
with right:
    published = releases.pick_published()
classes.mark_samples(name)
kind = models.loaded(ModelSpec(name)).kind
if not kind.pruned:
    badge.weights_badge(ModelSpec(name))
    score.show_scoring(name)
    st.stop()
if kind.selects:
    if published is not None:
        releases.show_published(published)
    fixed.show_fixed(name, image_id)
    st.stop()
to_measure = part_times.missing(name)
with frame.clear_errors():
    choice = scrubber.scrub_budget(name, beside=releases.beside(published))
words = MIXER_WORDS
st.markdown(
    f"{mixers_sentence(choice.found)} **{words['msa']}** is the block's own attention, **{words['conv3x3']}** and "
    f"**{words['conv1x1']}** are convolutions read out of its weights, **{words['skip']}** is no mixing. The **FFN** "
    "is the block's two-layer network; its bar shows the hidden units that are left. MACs are multiply-adds; papers "
    "write FLOPs for the same count."
)
if published is not None:
    releases.show_published(published)

spec = ModelSpec(name, budget=choice.budget)
ran = models.loaded(spec)
st.header(f"Its answer at {percent_text(choice.share)}")
if not model_facts.predicts(spec):
    st.warning(
        "The search for this model has not got far enough: the gates are shown, no prediction.",
        icon=":material/hourglass_top:",
    )
elif pictures.waiting():
    st.markdown(pictures.WAITS)
else:
    dense = model_facts.dense_of(name)
    with frame.clear_errors():
        said = inference.prediction(spec, image_id)
        before = inference.prediction(ModelSpec(dense), image_id) if dense else None
    if ran.architecture.macs != choice.found.macs:
        st.markdown(
            f"Predictions run at calibrated budgets only: here the next one below, with "
            f"{macs_number(ran.architecture.macs)} MACs ({percent(ran.architecture.macs / ran.dense_macs)} of dense)."
        )
    answers.show(spec, image_id, before, said)
st.download_button(
    "Download this architecture (JSON)",
    json_text(description(ran), indent=1),
    f"{Path(name).stem}-{100 * ran.architecture.macs / ran.dense_macs:.4g}.json",
    "application/json",
    icon=":material/download:",
    help="Of the network that ran: mixer and FFN width of each block, MACs and parameters, as "
    "`python -m core describe --json` gives them.",
)

with frame.clear_errors():
    block.show_block(name, choice)
    search.show_search(name, choice)
along.take_along({"This budget": spec}, image_id, ("describe", "predict"))
part_times.measure_after_paint(to_measure)
