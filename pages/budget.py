"""What do I save, and what does it cost me?"""

import streamlit as st

from core.config import ModelSpec
from core.methods import DENSE, GATED, JOINT, TOKENS
from pages.parts.budget import limits, which_method
from pages.parts.budget.frontier import chance_sentence, device_sentence, points_table, recorded_series
from pages.parts.budget.joint import joint_method, joint_sentence
from pages.parts.budget.savings import COMPONENT, cost_axis, path_method, show_links, tokens_method, told
from pages.parts.budget.untrained import drawn, untrained_sentence, untrained_series
from pages.parts.pickers import choose
from pages.parts.shared import along, badge, classes, frame, mac_counts, measured, model_facts, pictures, square
from pages.parts.shared.mounting import mount
from pages.parts.shared.recorded_rows import peers_sentence
from pages.parts.timing import engines, part_times, scale
from pages.server import models
from viz.cost import macs_by_part, saving_sentence
from viz.savings import savings_data
from viz.theme import macs_text


def _predict_again(*names: str | None) -> None:
    """Measure the parts of these models anew, and forget what was measured of settings."""
    measured.forget()
    part_times.forget_parts(*names)


frame.guard("pages/budget.py", "pic", "model", "keep", "budget", "joint")

st.title("What do I save, and what does it cost me?")
left, middle, right = st.columns([73, 34, 17.8], gap="small")
with left:
    image_id = choose.pick_picture()
with middle:
    name = choose.pick_model(TOKENS, GATED, JOINT, DENSE)
classes.mark_samples(name)
with frame.clear_errors():
    tokens, path, joint = (model_facts.alike(name, kind) for kind in (TOKENS, GATED, JOINT))
    dense = model_facts.dense_of(name)
given = limits.given_table()
elsewhere = given is not None
to_measure = part_times.missing(path, tokens, joint)
if elsewhere:
    times = scale.Times(given, dense_ms=scale.table_dense_ms(tokens, given))
else:
    common = scale.common_times(tokens, path, joint)
    with frame.clear_errors():
        times = scale.measured_times(common, dense, tokens, path, joint)
here = None if elsewhere else times
device = times.table or part_times.parts_of(path) or times.curve
methods, missing = [], {"missing": f"not in the table of {given.device}"} if elsewhere else {}
with frame.clear_errors():
    if tokens:
        methods.append(tokens_method(tokens, times.table, times=here))
    if path:
        methods.append(path_method(path, here, **missing))
    if joint:
        methods.append(joint_method(joint, times.curve, **missing, times=here))
with right:
    limit = limits.pick_limit(methods)
for kind, there in ((TOKENS, tokens), (GATED, path)):
    if not there:
        st.info(
            f"There is no {kind.noun} with the input and classes of {name} on this machine.", icon=":material/info:"
        )

limits.say_limit(methods, limit)
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
    show_links(methods)
badge.weights_line([ModelSpec(method.model) for method in methods] or [ModelSpec(name)])
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
with frame.clear_errors():
    counts = {} if pictures.waiting() else {label: mac_counts.macs_of(spec, image_id) for label, spec in specs.items()}
left, right = st.columns([3, 2], gap="medium")
with left:
    st.markdown("## Multiply-adds of this photo, by part")
    if counts:
        square.show(image_id, name)
        alt = "; ".join(f"{label}: {macs_text(count.total)}" for label, count in counts.items())
        frame.chart(macs_by_part(list(counts.items())), "parts", alt)
        for method in methods:
            whole = models.loaded(method.spec).dense_macs
            st.markdown(f"**{method.label}:** {saving_sentence(counts[method.label].total, whole)}.")
        st.markdown("Exact for this photo, in MACs (multiply-adds; papers write FLOPs for the same count).")
    elif pictures.waiting():
        st.markdown(pictures.WAITS)
with right:
    st.markdown("## Time")
    if methods:
        st.markdown(device_sentence(device, elsewhere=elsewhere))
        if said := scale.scale_sentence(times.apart):
            st.markdown(said)
        if not elsewhere and (said := scale.rough_sentence(times)):
            st.markdown(said)
        if not elsewhere and any(measured.latest(method.model) for method in methods):
            st.markdown("What was measured stands in its card; the predictions of other settings are scaled to it.")
        st.button("Predict again", on_click=_predict_again, args=(tokens, path, joint), icon=":material/refresh:")
    if not pictures.waiting():
        st.markdown(
            "Fewer multiply-adds are not always less time. Measure here, all models taking turns on this photo:"
        )
        engines.measure_panel(specs, image_id)
    if tokens:
        limits.pick_table(tokens)
which_method.show_methods(name)
along.take_along(specs, image_id, ("predict", "evaluate"))
part_times.measure_after_paint(to_measure)
