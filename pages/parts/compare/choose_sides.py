"""A and B of the comparison: for each a model, and how it is set; both in the URL as one value each."""

import streamlit as st

from core.config import BUDGET_RANGE, ModelSpec
from core.methods import KINDS
from core.results import Prediction
from pages.parts.shared import bound, model_facts
from pages.parts.shared.sides import HOW, RANGES, Side, read_side, write_side
from pages.server import budgets, inference, keeping, models
from viz.theme import percent


def comparable() -> dict[str, str]:
    """Every model here whose predictions may be shown, by name; and its method."""
    return {
        entry.name: entry.method
        for entry in models.offered()
        if entry.available
        and (not entry.kind.carved or entry.kind.selects or model_facts.predicts(ModelSpec(entry.name)))
    }


def pick_side(letter: str, usual: Side, methods: dict[str, str]) -> Side:
    """A card to choose one side on.

    Args:
        letter: "A" or "B"; the lower one is its key in the URL.
        usual: Where neither link nor session says anything else.
        methods: See `comparable`.
    """
    key = letter.lower()
    text = bound.held(key, write_side(usual), lambda said: _written(said, methods))
    if st.session_state.get(f"{key} said") != text or f"{key}_model" not in st.session_state:
        side = read_side(text, methods) or usual  # a link, or the first time on this page
        if KINDS[methods[side.name]].gated and side.setting is None:
            side = Side(side.name, "budget", 100)
        _fill(key, side)
    with st.container(border=True):
        name = st.selectbox(f"Model {letter}", list(methods), key=f"{key}_model")
        side = _setting(letter, name, methods[name])
    st.session_state[f"{key} said"] = write_side(side)
    bound.hold(key, None if side == usual else write_side(side))
    return side


def _written(said: str, methods: dict[str, str]) -> str | None:
    """A side as its own link would say it; None if it is none."""
    side = read_side(said, methods)
    return None if side is None else write_side(side)


def _fill(key: str, side: Side) -> None:
    """Give the widgets of a side, not drawn yet in this run, what it says."""
    st.session_state[f"{key}_model"] = side.name
    st.session_state[f"{key}_how"] = next((how for how, setting in HOW.items() if setting == side.setting), None)
    if side.setting is not None:
        st.session_state[f"{key}_{side.setting}"] = int(side.value) if side.setting == "budget" else side.value


def _setting(letter: str, name: str, method: str) -> Side:
    """The controls that a model of this method has: three ways to decide, a budget, or none."""
    key = letter.lower()
    if KINDS[method].selects:
        st.session_state[f"{key}_how"] = st.session_state.get(f"{key}_how") or next(iter(HOW))
        left, right = st.columns(2)
        how = left.segmented_control(f"Selection rule in {letter}", list(HOW), key=f"{key}_how", required=True)
        setting = HOW.get(how)
        if setting is None:
            return Side(name)
        label = f"Keep ratio of each selector, {letter}" if setting == "keep" else f"Keep probability above, {letter}"
        offered, at = RANGES[method][setting], f"{key}_{setting}"
        st.session_state[at] = offered.nearest(st.session_state.get(at, offered.usual))
        if setting == "keep":  # a slider of shares writes 70%, and all others say 70 %
            value = right.select_slider(label, offered.values, key=at, format_func=percent)
        else:
            value = right.slider(label, offered.low, offered.high, step=offered.step, format="%.2f", key=at)
        return Side(name, setting, round(float(value), 2))
    if KINDS[method].gated:
        lowest, at = budgets.lowest_share(name), f"{key}_budget"
        st.session_state[at] = max(lowest, int(st.session_state.get(at, BUDGET_RANGE.usual)))
        label = f"Budget of {letter}, % of the dense multiply-adds"
        return Side(name, "budget", st.slider(label, lowest, 100, step=1, format="%d %%", key=at))
    st.markdown("No settings: it treats every photo alike.")
    return Side(name)


def names_of(a: ModelSpec, b: ModelSpec) -> tuple[str, str]:
    """What A and B are called: Dense and Pruned where one is a dense model and the other was pruned from it."""
    if _pruned_from(b, a):
        return "Dense", "Pruned"
    return ("Pruned", "Dense") if _pruned_from(a, b) else ("A", "B")


def _pruned_from(spec: ModelSpec, dense: ModelSpec) -> bool:
    """Whether one is the other, which is dense, with selectors, under a budget, or with patches left out."""
    both = [models.loaded(ModelSpec(each.name)) for each in (spec, dense)]
    if both[1].kind.pruned or _leaves_out(dense):
        return False
    if spec.name == dense.name:
        return _leaves_out(spec)
    cards = [(found.card.family, found.card.geometry, found.card.classes) for found in both]
    return model_facts.dense_of(spec.name) == dense.name and cards[0] == cards[1]


def _leaves_out(spec: ModelSpec) -> bool:
    """Whether patches are ranked and left out of a model that has no selectors."""
    return spec.keep is not None or spec.mass is not None


def spec_of(side: Side) -> ModelSpec:
    """What runs."""
    match side.setting:
        case "keep":
            return keeping.keep_spec(side.name, side.value)
        case "threshold":
            return ModelSpec(side.name, threshold=side.value)
        case "budget":
            return ModelSpec(side.name, budget=budgets.reachable(side.name)[1] * side.value / 100)
    return ModelSpec(side.name)


def selects_tokens(spec: ModelSpec) -> bool:
    """Whether it leaves patches out, photo by photo."""
    return models.loaded(ModelSpec(spec.name)).kind.selects


def answer(spec: ModelSpec, image_id: str) -> Prediction:
    """What a side says about the photo."""
    if selects_tokens(spec):
        return inference.token_trace(spec, image_id).prediction
    return inference.prediction(spec, image_id)
