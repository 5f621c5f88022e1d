"""Does it still agree?"""

import streamlit as st

from core.config import ModelSpec
from pages import _along, _classes, _pickers, _shared, _url
from viz.predictions import agreement, top5_pair
from viz.theme import macs_text
from viz.tokens import pruned_photo, stage_sentence

_shared.guard("pages/compare.py", "pic", "a", "b")
KEEP = (90, 80, 70, 60, 50, 40, 30, 20)
BUDGET = (90, 80, 70, 60, 50, 40)


def settings() -> dict[str, ModelSpec]:
    """Every model and setting that can be compared, by what the URL calls it."""
    found: dict[str, ModelSpec] = {}
    for entry in _shared.models():
        if not entry.available or not _shared.predicts(ModelSpec(entry.name)):
            continue
        found[entry.name] = ModelSpec(entry.name)
        if entry.method == "tokens":
            found |= {f"{entry.name}, keep {k} %": _shared.keep_spec(entry.name, k / 100) for k in KEEP}
        if entry.method == "singlepath":
            dense = _shared.reachable(entry.name)[1]
            lowest = 100 * min(_shared.loaded(ModelSpec(entry.name)).card.single_path.budgets or (0.4,))
            found |= {
                f"{entry.name}, budget {s} %": ModelSpec(entry.name, budget=dense * s / 100)
                for s in BUDGET
                if s >= lowest
            }
    return found


st.title("Does it still agree?")
image_id = _pickers.pick_picture()
with _shared.clear_errors():
    choices = settings()
if len(choices) < 2:
    st.info("There are not two models on this machine yet, so there is nothing to compare.", icon=":material/info:")
    st.stop()
names = list(choices)
second = next((i for i, name in enumerate(names) if choices[name].keep and choices[name].keep[0] == 0.5), 1)
left, right = st.columns(2, gap="medium")
_url.bring("a", names[0], _url.one_of(names))
usual = _url.bring("b", names[second], _url.one_of(names))
_pickers.more_models(uses={"a": "Use it as A", "b": "Use it as B"})
a = left.selectbox("A", names, key="a", bind="query-params")
b = right.selectbox("B", names, index=second if usual else 0, key="b", bind="query-params")
a, b = (choices.get(a, choices[names[0]]), choices.get(b, choices[names[second]]))

with _shared.clear_errors():
    said = [_shared.prediction(spec, image_id) for spec in (a, b)]
    macs = [_shared.macs_of(spec, image_id).total for spec in (a, b)]
if said[0].classes != said[1].classes:
    st.error(
        "A and B know different classes, so their answers cannot be compared; choose two of one family.",
        icon=":material/error:",
    )
    st.stop()

found = agreement(*said)
first, other = (prediction.top(1)[0] for prediction in said)
if found.same_top1:
    st.subheader(f"Both say {first.label}")
else:
    st.subheader(f"A says {first.label}, B says {other.label}")
with st.grid(4, min_column_width=150):
    st.metric("Same first answer", "yes" if found.same_top1 else "no", border=True)
    st.metric("Rank of A's answer in B", str(found.rank_in_b), border=True)
    st.metric(
        "KL of B from A, nats",
        f"{found.kl_nats:.3f}",
        border=True,
        help="0 if B gives every class the same probability as A",
    )
    st.metric("MACs of B against A", f"{(macs[1] / macs[0] - 1) * 100:+.0f} %", border=True)

left, middle, right = st.columns([2, 3, 2], gap="medium")
for column, letter, spec, cost in ((left, "A", a, macs[0]), (right, "B", b, macs[1])):
    with column:
        st.markdown(f"#### {letter} · {macs_text(cost)}")
        photo = _shared.view(spec, image_id)
        if _shared.loaded(spec).method == "tokens":
            trace = _shared.token_trace(spec, image_id)
            last = len(trace.blocks)
            st.image(
                pruned_photo(photo, trace, last), width="stretch", output_format="JPEG", alt=stage_sentence(trace, last)
            )
        else:
            st.image(photo, width="stretch", output_format="JPEG", alt="The photo, all patches kept")
        _shared.weights_badge(spec)
        _classes.note_if_unknown(_shared.prediction(spec, image_id), letter)
with middle:
    st.markdown("#### Top-5 of either, in A's order")
    alt = f"A: {first.label} {first.prob:.0%}; B: {other.label} {other.prob:.0%}"
    _shared.chart(top5_pair(*said, names=("A", "B"), ranks=True), "top5", alt)
st.markdown("MACs are multiply-adds of this photo; papers write FLOPs for the same count. KL is over all classes.")
_along.take_along({"A": a, "B": b}, image_id)
