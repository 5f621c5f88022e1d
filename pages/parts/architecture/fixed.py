"""The network of a joint model: what one budget left of it, for good, and where its selectors stand."""

from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.files.json_text import json_text
from core.models.description import description
from pages.parts.shared import along, answers, frame, mac_counts, model_facts, pictures
from pages.server import inference, models
from viz.architecture import architecture_sentence, block_table, mixers_sentence
from viz.cost import macs_by_part, saving_sentence
from viz.theme import percent
from viz.tokens import stage_sentence

BAR = st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100)


def show_fixed(name: str, image_id: str) -> None:
    """The whole page for a joint model."""
    spec, dense = ModelSpec(name), model_facts.dense_of(name)
    ran = models.loaded(spec)
    found, selectors = ran.architecture, ran.card.selectors
    st.header(architecture_sentence(found))
    st.markdown(
        f"{mixers_sentence(found)} This network is fixed: it was derived for one budget, and token selectors were "
        f"trained in it. Before anything is dropped it costs {percent(found.macs / found.dense_macs)} of the dense "
        "multiply-adds; what its selectors drop of a photo comes on top (**Tokens** shows that patch by patch)."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("### The network, block by block")
        costs = mac_counts.block_macs(name, [found])[0]
        table = block_table(found, costs, selectors.blocks)
        height = 38 + 35 * len(costs)
        st.dataframe(table, hide_index=True, height=height, column_config={"FFN left, %": BAR}, key="blocks")
    if pictures.waiting():
        right.markdown(pictures.WAITS)
        return
    with right:
        st.markdown("### Multiply-adds of this photo, by part")
        with frame.clear_errors():
            trace = inference.token_trace(spec, image_id)
            before = inference.prediction(ModelSpec(dense), image_id) if dense else None
        rows = {
            "Dense": mac_counts.dense_count(name),
            "This network": mac_counts.whole_count(name),
            "With selectors": trace.macs,
        }
        frame.chart(macs_by_part(list(rows.items())), "parts", saving_sentence(trace.macs.total, trace.dense_macs))
        st.markdown(
            f"{saving_sentence(trace.macs.total, trace.dense_macs)}. {stage_sentence(trace, len(trace.blocks))}"
        )
    st.header("Its answer")
    answers.show(spec, image_id, before, trace.prediction)
    st.download_button(
        "Download this architecture (JSON)",
        json_text(description(ran), indent=1),
        f"{Path(name).stem}.json",
        "application/json",
        icon=":material/download:",
    )
    along.take_along({"This model": spec}, image_id, ("describe", "predict"))
