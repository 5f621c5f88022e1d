"""One block of a single-path model on a page: its gates, the convolution inside its attention, what it costs."""

from functools import partial

import streamlit as st

from core.config import ModelSpec
from core.latency.parts import block_ms
from pages.parts.architecture.scrubber import Choice
from pages.parts.shared import frame, mac_counts
from pages.parts.timing import part_times, scale
from pages.server import budgets, drawings, models
from viz.cost import device_text, macs_by_part, saving_sentence
from viz.gates import ffn_gates, gate_curves, gate_table, mixing_sentence, why_sentence
from viz.theme import MIXER_WORDS, percent_text


def show_block(name: str, choice: Choice) -> None:
    """The selected block, in three parts."""
    mixer = choice.found.mixers[choice.block]
    st.header(f"Block {choice.block + 1}: {MIXER_WORDS[mixer]} at {percent_text(choice.share)}")
    st.markdown("Choose another block with a click in the network or in the diagram above.")
    left, right = st.columns(2, gap="medium")
    with left:
        _cost(name, choice)
    with right:
        _gates(name, choice)
    left, right = st.columns(2, gap="medium")
    with left:
        _history(name, choice)
    with right:
        _convolution(name, choice)


def _cost(name: str, choice: Choice) -> None:
    st.markdown("### What the block costs")
    dense, now = mac_counts.block_counts(name, choice.found, choice.block)
    rows = [("Dense block", dense), (f"At {percent_text(choice.share)}", now)]
    frame.chart(macs_by_part(rows), "block_cost", saving_sentence(now.total, dense.total))
    st.markdown(f"{saving_sentence(now.total, dense.total)}.")
    if costs := part_times.parts_of(name):
        before = block_ms(costs, scale.dense_path(name))[choice.block]
        after = block_ms(costs, choice.found)[choice.block]
        st.markdown(
            f"Predicted time of the block: {after:.2f} ms instead of {before:.2f} ms ({device_text(costs)}), its norms "
            "and sums included."
        )


def _gates(name: str, choice: Choice) -> None:
    st.markdown("### Gates")
    gates, kept = models.loaded(ModelSpec(name)).gates, choice.found.ffn_kept
    st.markdown(gate_table(gates, choice.block, choice.found.mixers[choice.block]))
    hidden = choice.found.ffn_hidden[choice.block], choice.found.ffn_full[choice.block]
    alt = f"{hidden[0]} of {hidden[1]} FFN hidden units are kept"
    frame.chart(ffn_gates(gates.ffn_logits[choice.block], kept[choice.block]), "ffn_gates", alt)
    st.markdown(why_sentence(gates, choice.found, choice.block))


def _convolution(name: str, choice: Choice) -> None:
    st.markdown("### The convolution inside its attention")
    reading = models.kernel_readings(name)[choice.block]
    uses = {
        "conv3x3": "This budget uses it.",
        "conv1x1": "This budget uses its centre only.",
        "msa": "At this budget the attention itself stays; this is what it would become.",
        "skip": "At this budget neither is left.",
    }[choice.found.mixers[choice.block]]
    st.markdown(
        f"At each of nine offsets the kernel, a matrix of {reading.channels} channels, is a mixture of the heads' "
        f"value weights. {uses} {mixing_sentence(reading)}"
    )


def _history(name: str, choice: Choice) -> None:
    st.markdown("### Gates over the search")
    history = budgets.gate_history(name)
    if history is None:
        scored = models.loaded(ModelSpec(name)).card.only_scored
        st.markdown(
            "These gates were scored on photos, without a search, so there is no history of them."
            if scored
            else "No history of the gates was kept beside these weights."
        )
        return
    alt = f"Probability of the gates of block {choice.block + 1} over {history.epochs[-1]:g} epochs"
    curves = drawings.drawn_once("gate_curves", (name, choice.block), partial(gate_curves, history, choice.block))
    frame.chart(curves, "gate_curves", alt)
    st.markdown("Above the dotted line at 50 % a gate would be open by itself; a budget may close it all the same.")
