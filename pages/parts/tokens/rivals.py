"""The Tokens page's question: would others have done as well at the same multiply-adds?"""

from typing import Any

import streamlit as st

from core.baselines.dense import check_dense, check_family
from core.baselines.plans import Plan, fit_plan
from core.baselines.trace import PeerTrace
from core.config import PEERS, ModelSpec
from core.errors import InputError
from core.results import TokenTrace
from pages.parts.shared import model_facts
from pages.server import hosted, images, inference, keeping, models, timings
from viz.cost import latency_text
from viz.peers import PEER_NAMES, Way, peer_photo, peer_sentence, plan_sentence, way_caption, ways_table
from viz.tokens import pruned_photo

SAME, DENSE = "pruned, trained", "dense, untouched"


def show(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    """The photo under other choices by the same model, and under other methods on the dense weights."""
    view, last = images.view(ModelSpec(spec.name), image_id), len(trace.blocks)
    st.markdown(
        "**Other choices, same weights.** As many patches after each selector and so the same multiply-adds: only who "
        "chooses differs. A selector that is worth its cost does better than chance."
    )
    by_class = models.loaded(ModelSpec(spec.name)).card.geometry.lookers(2) == 1
    attention = "Class attention" if by_class else "Attention"
    others = {attention: "attention", "Chance": "random"}
    mixers = keeping.deciding(spec)[0].model.layers.mixers
    if mixers is not None and "msa" not in mixers:  # no block attends any more
        del others[attention]
    chosen = {"The selectors": trace} | {
        name: inference.rival_trace(spec, image_id, rival) for name, rival in others.items()
    }
    ways = [Way(name, SAME, each.prediction, each.macs.total, each.kept[-1]) for name, each in chosen.items()]
    with st.grid(3, min_column_width=220):
        for way, each in zip(ways, chosen.values(), strict=True):
            with st.container():
                said = way_caption(way)
                st.image(
                    pruned_photo(view, each, last), width="stretch", output_format="JPEG", alt=said.replace("**", "")
                )
                st.markdown(f"{said} Patches left: {each.kept_counts[-1]}.")
    st.markdown(
        f"{attention} keeps what {'the class token attends' if by_class else 'all tokens together attend'} to most in "
        "the next block. One photo proves little: "
        "`python -m core evaluate --method …` compares all of these on many."
    )
    st.markdown(
        "**Other methods, dense weights.** Their papers' methods on the dense model as it is, with nothing trained for "
        "them, while the selectors' model was trained further. Each is set to cost what this photo costs."
    )
    _peers(spec, image_id, trace, ways)


def _peers(spec: ModelSpec, image_id: str, trace: TokenTrace, ways: list[Way]) -> None:
    """Pictures of the peers, the table of all, and times on demand."""
    card, name, plans = models.loaded(ModelSpec(spec.name)).card, model_facts.dense_of(spec.name), []
    try:
        check_family(spec.name, card)
        if name is None:
            raise InputError("The dense model that this one was made of is not on this machine.")
        check_dense(spec.name, models.loaded(ModelSpec(name)), card)
    except InputError as error:
        st.info(str(error), icon=":material/info:")
        return
    geometry = models.loaded(ModelSpec(name)).card.geometry
    for peer in PEERS:
        try:
            plans.append(fit_plan(peer, geometry, trace.blocks, trace.macs.total))
        except InputError as error:
            st.info(str(error), icon=":material/info:")
    found = {PEER_NAMES[plan.peer]: inference.peer_trace(name, image_id, plan) for plan in plans}
    peers = [Way(title, DENSE, each.prediction, each.macs.total, each.alone) for title, each in found.items()]
    if plans:
        _pictures(images.view(ModelSpec(spec.name), image_id), trace, peers, list(found.values()))
    dense = inference.prediction(ModelSpec(name), image_id)
    st.dataframe(
        ways_table(dense, trace.kept[-1], [*ways, *peers]),
        hide_index=True,
        column_config={
            "MACs, % of ours": st.column_config.NumberColumn(format="%.1f"),
            "KL from dense, nats": st.column_config.NumberColumn(format="%.3f"),
            "Overlap with ours, %": st.column_config.NumberColumn(format="%.0f"),
        },
    )
    _times(spec, name, image_id, tuple(plans))


def _pictures(view: Any, trace: TokenTrace, peers: list[Way], found: list[PeerTrace]) -> None:
    """The photo as each peer has it after a block that one chooses."""
    blocks = list(range(1, len(trace.tokens) + 1))
    middle = trace.blocks[len(trace.blocks) // 2] + 1
    block = st.select_slider("After block", blocks, value=middle, key="peers_after") - 1
    with st.grid(3, min_column_width=220):
        for way, each in zip(peers, found, strict=True):
            with st.container():
                said = f"{way_caption(way)} {peer_sentence(each, block)}"
                st.image(
                    peer_photo(view, each, block), width="stretch", output_format="JPEG", alt=said.replace("**", "")
                )
                st.markdown(said)
    st.markdown(
        f"{' '.join(plan_sentence(each.plan) for each in found)} ToMe "
        "([arXiv:2210.09461](https://arxiv.org/abs/2210.09461)) merges what is similar; each group has its mean colour "
        "and a border. EViT ([arXiv:2202.07800](https://arxiv.org/abs/2202.07800)) keeps what the class token attends "
        "to most. Overlap: patches that both leave alone, as a share of those that either does."
    )


def _times(spec: ModelSpec, dense: str, image_id: str, plans: tuple[Plan, ...]) -> None:
    """Latency of all of them in turns, when somebody asks."""
    if hosted.is_off(hosted.MEASURING):
        return
    key, turns = ("peers", spec, image_id), st.session_state.setdefault("turns", {})
    if st.button("Measure these again" if key in turns else "Measure these here", icon=":material/timer:", key="peers"):
        turns[key] = turns.get(key, 0) + 1
    if key not in turns:
        return
    times = timings.peer_latency(spec, dense, image_id, plans, turns[key])
    names = ["Dense", "The selectors", *(PEER_NAMES[plan.peer] for plan in plans)]
    for name, time in zip(names, times, strict=True):
        slower = time.median_ms > times[0].median_ms
        st.markdown(f"**{name}:** {latency_text(time)}." + " :red-badge[Slower than dense here]" * slower)
