"""The network of a joint model: what one budget left of it, for good, and where its selectors stand."""

from pathlib import Path

import streamlit as st

from core.config import ModelSpec
from core.files.json_text import json_text
from core.models.description import description
from pages import _along, _answers, _costs, _frame, _models, _shared
from viz.architecture import architecture_sentence, block_table, mixers_sentence
from viz.cost import macs_by_part, saving_sentence
from viz.theme import percent
from viz.tokens import stage_sentence

BAR = st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100)


def show_fixed(name: str, image_id: str) -> None:
    """The whole page for a joint model."""
    spec, dense = ModelSpec(name), _models.dense_of(name)
    ran = _shared.loaded(spec)
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
        costs = _costs.block_macs(name, [found])[0]
        table = block_table(found, costs, selectors.blocks)
        height = 38 + 35 * len(costs)
        st.dataframe(table, hide_index=True, height=height, column_config={"FFN left, %": BAR}, key="blocks")
    with right:
        st.markdown("### Multiply-adds of this photo, by part")
        with _frame.clear_errors():
            trace = _shared.token_trace(spec, image_id)
            before = _shared.prediction(ModelSpec(dense), image_id) if dense else None
        rows = {
            "Dense": _costs.dense_count(name),
            "This network": _costs.whole_count(name),
            "With selectors": trace.macs,
        }
        _frame.chart(macs_by_part(list(rows.items())), "parts", saving_sentence(trace.macs.total, trace.dense_macs))
        st.markdown(
            f"{saving_sentence(trace.macs.total, trace.dense_macs)}. {stage_sentence(trace, len(trace.blocks))}"
        )
    st.header("What it says")
    _answers.show(spec, image_id, before, trace.prediction)
    st.download_button(
        "Download this architecture (JSON)",
        json_text(description(ran), indent=1),
        f"{Path(name).stem}.json",
        "application/json",
        icon=":material/download:",
    )
    _along.take_along({"This model": spec}, image_id, ("describe", "predict"))
