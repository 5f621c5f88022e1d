"""What do I save, and what does it cost me?"""

import streamlit as st

from core.config import ModelSpec
from pages import _along, _pickers, _shared
from viz.cost import frontier, macs_by_part
from viz.theme import macs_text, percent

_shared.guard("pages/budget.py", "pic", "keep", "budget")

st.title("What do I save, and what does it cost me?")
image_id = _pickers.pick_picture()
names = {
    method: next(
        (e.name for e in _shared.models() if e.method == method and e.available and e.source == "bundled"), None
    )
    for method in ("dense", "tokens", "singlepath")
}
specs: dict[str, ModelSpec] = {"Dense": ModelSpec(names["dense"])} if names["dense"] else {}
left, right = st.columns(2, gap="medium")
with _shared.clear_errors():
    with left:
        if names["tokens"]:
            ratio = _pickers.pick_keep()
            specs[f"Tokens, keep {percent(ratio)}"] = _shared.keep_spec(names["tokens"], ratio)
        else:
            st.info("There is no model with token selectors on this machine yet.", icon=":material/info:")
    with right:
        if names["singlepath"]:
            share, budget = _pickers.pick_budget(names["singlepath"])
            specs[f"Single path, {share} %"] = ModelSpec(names["singlepath"], budget=budget)
        else:
            st.info("There is no single-path model on this machine yet.", icon=":material/info:")
    if not specs:
        st.stop()
    counts = {label: _shared.macs_of(spec, image_id) for label, spec in specs.items()}

dense = _shared.loaded(next(iter(specs.values()))).dense_macs
st.subheader(
    " · ".join(
        f"{label}: {percent(1 - count.total / dense)} saved" if count.total < dense else f"{label}: nothing saved"
        for label, count in counts.items()
        if label != "Dense"
    )
    or f"Dense: {macs_text(dense)}"
)
left, right = st.columns([3, 2], gap="medium")
with left:
    st.markdown("#### Multiply-adds of this photo, by part")
    alt = "; ".join(f"{label}: {macs_text(count.total)}" for label, count in counts.items())
    _shared.chart(macs_by_part(list(counts.items())), "parts", alt)
    st.markdown("Exact for this photo, in MACs (multiply-adds; papers write FLOPs for the same count).")
with right:
    st.markdown("#### Time on this machine")
    st.markdown("Fewer multiply-adds are not always less time. Measured here, all models taking turns on this photo:")
    _shared.latency_panel(specs, image_id)

st.markdown("#### Accuracy against cost")
rows = _shared.evaluations()
if rows:
    here = [(label, float(count.total)) for label, count in counts.items() if label != "Dense"]
    _shared.chart(frontier(rows, here), "frontier", "Recorded accuracy against multiply-adds")
    st.markdown(
        f"Recorded by `python -m core evaluate` on {max(row.images for row in rows):,} validation photos; dotted: what "
        "this photo costs at the settings above."
    )
else:
    st.info("No evaluation has been recorded for the bundled models yet.", icon=":material/info:")
_along.take_along(specs, image_id, ("predict", "evaluate"))
