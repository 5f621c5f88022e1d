"""Does it still agree?"""

import streamlit as st

from core.config import KEEP_RANGE, ModelSpec
from pages.parts.compare import carry, choose_sides, many_photos, one_photo
from pages.parts.pickers import choose
from pages.parts.pickers.files import why_missing
from pages.parts.shared import along, bound, frame, links, pictures, square
from pages.parts.shared.sides import Side
from pages.server import models

frame.guard("pages/compare.py", "pic", "a", "b", "cls", "by", "view")
TABS = ("One photo", "Many photos")

st.title("Does it still agree?")
left, middle, right = st.columns([7, 4, 2], vertical_alignment="bottom")
with left:
    image_id = choose.pick_picture()
linked = {letter: why_missing(st.query_params.get(letter.lower(), "").partition("~")[0]) for letter in "AB"}
with frame.clear_errors():
    methods = choose_sides.comparable()
if not methods:
    st.info("There is no model on this machine yet, so there is nothing to compare.", icon=":material/info:")
    st.stop()
with right:
    choose.more_models(uses={"a": "Use it as A", "b": "Use it as B"}, use=bound.hold)
names = list(methods)
dense = next((name for name in names if methods[name] == "dense"), names[0])
pruned = next((name for name in names if methods[name] == "tokens"), names[-1])
usual = Side(pruned, "keep", KEEP_RANGE.usual) if methods[pruned] == "tokens" else Side(pruned)
carry.carry_over(methods)
with frame.clear_errors():
    left, right = st.columns(2, gap="medium")
    with left:
        a = choose_sides.pick_side("A", Side(dense), methods)
    with right:
        b = choose_sides.pick_side("B", usual, methods)
    specs = choose_sides.spec_of(a), choose_sides.spec_of(b)
    for side, why_not in zip((a, b), linked.values(), strict=True):
        if why_not:
            st.warning(f"{why_not} Until then you see {side.name}.", icon=":material/link_off:")
    with middle:
        square.show(image_id, a.name)
    known = [models.loaded(ModelSpec(side.name)).card.classes for side in (a, b)]
if known[0] != known[1]:
    st.error(
        "A and B know different classes, so their answers cannot be compared; choose two that know the same, such as a "
        "model and what it was pruned from.",
        icon=":material/error:",
    )
    st.stop()

first = links.bring("view", TABS[0], links.one_of(TABS))
one, many = st.tabs(TABS, key="view", default=first, bind="query-params")
if one.open:
    with one:
        if pictures.waiting():
            st.markdown(pictures.WAITS)
        else:
            one_photo.one_photo(specs, image_id)
if many.open:
    with many:
        many_photos.many_photos(specs)
along.take_along({"A": specs[0], "B": specs[1]}, image_id)
