"""Does it still agree?"""

import streamlit as st

from core.config import ModelSpec
from pages import _along, _carry, _compare_many, _compare_one, _compare_sides, _frame, _held, _pickers, _shared, _url
from pages._compare_url import Side
from pages._files import why_missing

_frame.guard("pages/compare.py", "pic", "a", "b", "cls", "by", "view")
TABS = ("One photo", "Many photos")

st.title("Does it still agree?")
image_id = _pickers.pick_picture()
linked = {letter: why_missing(st.query_params.get(letter.lower(), "").partition("~")[0]) for letter in "AB"}
with _frame.clear_errors():
    methods = _compare_sides.comparable()
if not methods:
    st.info("There is no model on this machine yet, so there is nothing to compare.", icon=":material/info:")
    st.stop()
_pickers.more_models(uses={"a": "Use it as A", "b": "Use it as B"}, use=_held.hold)
names = list(methods)
dense = next((name for name in names if methods[name] == "dense"), names[0])
pruned = next((name for name in names if methods[name] == "tokens"), names[-1])
usual = Side(pruned, "keep", 0.7) if methods[pruned] == "tokens" else Side(pruned)
_carry.carry_over(methods)
with _frame.clear_errors():
    left, right = st.columns(2, gap="medium")
    with left:
        a = _compare_sides.pick_side("A", Side(dense), methods)
    with right:
        b = _compare_sides.pick_side("B", usual, methods)
    specs = _compare_sides.spec_of(a), _compare_sides.spec_of(b)
    for side, why_not in zip((a, b), linked.values(), strict=True):
        if why_not:
            st.warning(f"{why_not} Until then you see {side.name}.", icon=":material/link_off:")
    known = [_shared.loaded(ModelSpec(side.name)).card.classes for side in (a, b)]
if known[0] != known[1]:
    st.error(
        "A and B know different classes, so their answers cannot be compared; choose two that know the same, such as a "
        "model and what it was pruned from.",
        icon=":material/error:",
    )
    st.stop()

first = _url.bring("view", TABS[0], _url.one_of(TABS))
one, many = st.tabs(TABS, key="view", default=first, bind="query-params")
if one.open:
    with one:
        _compare_one.one_photo(specs, image_id)
if many.open:
    with many:
        _compare_many.many_photos(specs)
_along.take_along({"A": specs[0], "B": specs[1]}, image_id)
