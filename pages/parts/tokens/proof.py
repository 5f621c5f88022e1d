"""A question behind the Tokens page: do pruned tokens really leave?"""

import streamlit as st

from core.config import ModelSpec
from core.results import TokenTrace
from pages.server import hosted, models, timings
from viz.cost import latency_text
from viz.theme import macs_text


def masked_or_removed(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    """Whether pruned tokens are really gone: in words, and measured when somebody asks."""
    st.markdown(
        "**Removed.** Much published code only *masks* pruned tokens: nobody attends to them any more, but every block "
        "still computes them, and nothing is saved. Here they leave the sequence: each block below gets only the "
        "tokens that are left. Both ways give the same answer, and you can check it on this photo."
    )
    key, turns = ("removal", spec, image_id), st.session_state.setdefault("turns", {})
    off = hosted.is_off(hosted.MEASURING)
    if not off and st.button(
        "Check again" if key in turns else "Check it here", icon=":material/timer:", key="check_removal"
    ):
        turns[key] = turns.get(key, 0) + 1
    if key not in turns:
        st.markdown(f"Tokens in each block, removed: {', '.join(map(str, trace.tokens))}.")
        return
    found = timings.removal_of(spec, image_id, turns[key])
    joint = models.loaded(ModelSpec(spec.name)).kind.carved
    whole = "Single path" if joint else "Dense"
    st.dataframe(
        {
            "Way": [f"{whole}, no selectors", "Pruned tokens masked", "Pruned tokens removed"],
            "Tokens in each block": [
                ", ".join(map(str, tokens))
                for tokens in ((trace.tokens[0],) * len(trace.tokens), found.masked_tokens, found.removed_tokens)
            ],
            "MACs": [macs_text(macs) for macs in (found.dense_macs, found.masked_macs, found.removed_macs)],
            "Median, ms": [each.median_ms for each in (found.dense, found.masked, found.removed)],
        },
        hide_index=True,
        column_config={"Median, ms": st.column_config.NumberColumn(format="%.1f")},
    )
    agree = found.same_decisions and found.logit_gap < 1e-3
    st.markdown(
        f"{'Masked and removed agree' if agree else 'Masked and removed differ'}: the largest difference of a logit "
        f"is {found.logit_gap:.1e}, {'with the same' if found.same_decisions else 'with different'} decisions at "
        f"every selector.  \n**{whole}:** {latency_text(found.dense)}.  \n**Masked:** {latency_text(found.masked)}.  \n"
        f"**Removed:** {latency_text(found.removed)}."
    )
    if found.removed.median_ms >= found.dense.median_ms:
        st.warning(
            f"Slower than {'without selectors' if joint else 'dense'} here, although it computes less: on a model this "
            "small the selectors and the moving of tokens cost more than the blocks save. More patches, a larger model "
            "or a larger batch change that.",
            icon=":material/timer:",
        )
