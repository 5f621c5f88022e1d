"""What can a Vision Transformer do without?"""

from pathlib import Path

import streamlit as st

from core.config import BUDGET_RANGE, KEEP_RANGE, ModelSpec
from core.methods import DENSE, GATED, TOKENS, Kind
from pages.parts.pickers import choose
from pages.parts.shared import badge, frame, model_facts, player
from pages.parts.shared.sides import Side, write_side
from pages.server import images, inference, keeping, models
from viz.predictions import agreement
from viz.theme import percent
from viz.tokens import stage_sentence

frame.guard("pages/home.py")
DIFFERENCES = Path(__file__).resolve().parent.parent / "assets" / "differences.md"

st.title("What can a Vision Transformer do without?")
st.markdown(
    "**Soft token pruning** lets small selectors look at each photo and keep only the patches that matter; the others "
    "are folded into a package.  \n**Single-path pruning** leaves each attention layer as it is, or puts a convolution "
    "read out of its own weights in its place, or nothing, and thins out the FFNs, until a budget fits."
)


def usable(kind: Kind) -> str | None:
    """The first model of a kind that is here."""
    return next((entry.name for entry in models.offered() if entry.kind == kind and entry.available), None)


pruned = usable(TOKENS)
if pruned is None:
    st.info("The bundled weights are not in assets/ yet, so there is nothing to show here.", icon=":material/info:")
else:
    image_id = f"sample:{images.samples()[0].id}"
    with frame.clear_errors():
        spec = keeping.keep_spec(pruned, KEEP_RANGE.usual)
        trace = inference.token_trace(spec, image_id)
        dense = model_facts.dense_of(pruned)
        said = inference.prediction(ModelSpec(dense), image_id) if dense else None
    last = len(trace.blocks)
    left, right = st.columns(2, gap="medium", vertical_alignment="top")
    with left:
        player.show_sample(images.photo_url(pruned, image_id), trace)
    with right:
        badge.weights_badge(spec)
        with st.grid(3, min_column_width=90):
            st.metric(
                "Tokens left",
                percent(trace.tokens[-1] / trace.tokens[0]),
                help="In the last block: the kept patches, what stands before them, and one package for each selector; "
                "share of the dense model's",
            )
            st.metric(
                "MACs left",
                percent(trace.macs.total / trace.dense_macs),
                help="Of this photo, share of dense",
            )
            if said is not None:
                same = agreement(said, trace.prediction).same_top1
                st.metric("Answer", "the same" if same else "another", help="Of the pruned model, held against dense")
        st.markdown(
            "Computed just now: each selector keeps 70 % of what reaches it. "
            f"{stage_sentence(trace, last)} The pruned model says "
            f"**{trace.prediction.top(1)[0].label}**"
            + (f", the dense one **{said.top(1)[0].label}**." if said else ".")
        )
        st.markdown(
            f"{player.LEGEND} {player.HOW_TO_READ} Point at a package, or tap it, to see what is in it; click a patch "
            "to learn what became of it."
        )
        if st.button("Try it with your own photo", icon=":material/add_photo_alternate:"):
            st.switch_page("pages/tokens.py", query_params={"pic": choose.UPLOAD})

st.header("Three views to start with")
with st.grid(3, border=True, min_column_width=260):
    cards = (
        (
            "pages/tokens.py",
            "Watch patches leave",
            "Each of three selectors keeps 70 % of what reaches it.",
            {"method": "Keep ratio", "keep": f"{KEEP_RANGE.usual:g}", "model": pruned},
        ),
        (
            "pages/architecture.py",
            "Take a quarter out",
            "What every block becomes when a quarter of the multiply-adds must go.",
            {"budget": f"{BUDGET_RANGE.usual:g}", "model": usable(GATED)},
        ),
        (
            "pages/compare.py",
            "Push it until it breaks",
            "Dense against a model that keeps 40 % at each selector.",
            {"b": write_side(Side(pruned or "bundled-tokens", "keep", 0.4)), "a": usable(DENSE)},
        ),
    )
    for path, title, text, query in cards:
        with st.container():
            st.page_link(path, label=f"**{title}**", query_params={key: said for key, said in query.items() if said})
            st.markdown(text)

methods, private = st.columns(2, gap="medium")
with methods:
    st.header("Reading")
    st.markdown(
        "- He et al., *Pruning Self-attentions into Convolutional Layers in Single Path*, TPAMI 2024, "
        "[arXiv:2111.11802](https://arxiv.org/abs/2111.11802)\n"
        "- Kong et al., *SPViT: Enabling Faster Vision Transformers via Soft Token Pruning*, ECCV 2022, "
        "[arXiv:2112.13890](https://arxiv.org/abs/2112.13890)"
    )
with private:
    st.header("Your pictures")
    st.markdown(
        "An uploaded picture stays in the memory of your session on this server: it is never written to disk, never "
        "part of a link, seen by nobody else, and gone when you close the tab or press *Remove photo*."
    )
    st.header("Sample pictures")
    st.markdown("\n".join(f"- {s.title}: {s.credit}, {s.licence}" for s in images.samples()))

with st.expander("Where paper, release and Prunescope differ", icon=":material/compare_arrows:"):
    st.markdown(DIFFERENCES.read_text(encoding="utf-8"))
