"""What do I save, and what does it cost me?"""

import streamlit as st

from core.config import ModelSpec
from pages import (
    _along,
    _badge,
    _costs,
    _engines,
    _frame,
    _limits,
    _models,
    _parts,
    _pickers,
    _scale,
    _shared,
    _which_method,
)
from pages._frontier import chance_sentence, device_sentence, points_table, recorded_series
from pages._joint import joint_method, joint_sentence
from pages._mounted import mount
from pages._peer_rows import peers_sentence
from pages._savings import COMPONENT, cost_axis, path_method, tokens_method, told
from pages._untrained import drawn, untrained_sentence, untrained_series
from viz.cost import macs_by_part, saving_sentence
from viz.savings import savings_data
from viz.theme import macs_text

_frame.guard("pages/budget.py", "pic", "model", "keep", "budget", "joint")

st.title("What do I save, and what does it cost me?")
left, middle, right = st.columns([8, 4, 3], gap="medium")
with left:
    image_id = _pickers.pick_picture()
with middle:
    name = _pickers.pick_model("tokens", "singlepath", "joint", "dense")
with _frame.clear_errors():
    tokens, path, joint = (_models.alike(name, method) for method in ("tokens", "singlepath", "joint"))
    dense = _models.dense_of(name)
given = _limits.given_table()
elsewhere = given is not None
to_measure = _parts.missing(path, tokens, joint)
if elsewhere:
    times = _scale.Times(given, dense_ms=_scale.table_dense_ms(tokens, given))
else:
    times = _scale.common_times(tokens, path, joint)
device = times.table or _parts.parts_of(path) or times.curve
methods, missing = [], {"missing": f"not in the table of {given.device}"} if elsewhere else {}
with _frame.clear_errors():
    if tokens:
        methods.append(tokens_method(tokens, times.table))
    if path:
        methods.append(path_method(path, elsewhere=elsewhere, **missing))
    if joint:
        methods.append(joint_method(joint, times.curve, **missing))
with right:
    limit = _limits.pick_limit(methods)
for kind, there in (("model with token selectors", tokens), ("single-path model", path)):
    if not there:
        st.info(f"There is no {kind} with the input and classes of {name} on this machine.", icon=":material/info:")

_limits.say_limit(methods, limit)
series = recorded_series(dense, tokens, path, joint, times, elsewhere=elsewhere) + untrained_series(dense)
if methods or series:
    data = savings_data([method.track for method in methods], drawn(series, dense), limit)
    mount(
        COMPONENT,
        "savings",
        data,
        {method.track.key: method.value for method in methods} | {"cost": cost_axis()},
        told,
    )
_badge.weights_line([ModelSpec(method.model) for method in methods] or [ModelSpec(name)])
if joint:
    st.markdown(joint_sentence(joint))
if series:
    said = chance_sentence([shown for shown in (dense, tokens, path, joint) if shown])
    st.markdown(said + peers_sentence(series) + untrained_sentence(series, dense))
    with st.expander("The recorded points as a table"):
        st.dataframe(points_table(series), hide_index=True)
else:
    st.markdown("No evaluation has been recorded for these models yet.")

specs = {"Dense": ModelSpec(dense)} if dense else {}
specs |= {method.label: method.spec for method in methods}
with _frame.clear_errors():
    counts = {label: _costs.macs_of(spec, image_id) for label, spec in specs.items()}
left, right = st.columns([3, 2], gap="medium")
with left:
    st.markdown("## Multiply-adds of this photo, by part")
    alt = "; ".join(f"{label}: {macs_text(count.total)}" for label, count in counts.items())
    _frame.chart(macs_by_part(list(counts.items())), "parts", alt)
    for method in methods:
        whole = _shared.loaded(method.spec).dense_macs
        st.markdown(f"**{method.label}:** {saving_sentence(counts[method.label].total, whole)}.")
    st.markdown("Exact for this photo, in MACs (multiply-adds; papers write FLOPs for the same count).")
with right:
    st.markdown("## Time")
    if methods:
        st.markdown(device_sentence(device, elsewhere=elsewhere))
        if said := _scale.scale_sentence(times.apart):
            st.markdown(said)
        st.button("Predict again", on_click=_parts.forget_parts, args=(tokens, path, joint), icon=":material/refresh:")
    st.markdown("Fewer multiply-adds are not always less time. Measure here, all models taking turns on this photo:")
    _engines.measure_panel(specs, image_id)
    if tokens:
        _limits.pick_table(tokens)
_which_method.show_methods(name)
_along.take_along(specs, image_id, ("predict", "evaluate"))
_parts.measure_after_paint(to_measure)
