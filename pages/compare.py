"""Does it still agree?"""

import streamlit as st

from core.config import KEEP_RANGE
from core.inference.common_classes import common_classes
from core.methods import DENSE, TOKENS
from pages.parts.compare import carry, choose_sides, many_photos, one_photo
from pages.parts.pickers import choose
from pages.parts.pickers.files import why_missing
from pages.parts.shared import along, bound, classes, frame, links, pictures, square
from pages.parts.shared.sides import Side
from pages.server import models
from viz.predictions import common_sentence

frame.guard("pages/compare.py", "pic", "a", "b", "cls", "by", "view")
TABS = ("One photo", "Many photos")

st.title("Does it still agree?")
left, middle, right = st.columns([8, 3.2, 1.7], gap="small", vertical_alignment="bottom")
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
dense = next((name for name in methods if methods[name] == DENSE.name), next(iter(methods)))
pruned = next((name for name in methods if methods[name] == TOKENS.name), list(methods)[-1])
usual = Side(pruned, "keep", KEEP_RANGE.usual) if methods[pruned] == TOKENS.name else Side(pruned)
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
    names = choose_sides.names_of(*specs)
    for letter, place, name in zip("AB", (left, right), names, strict=True):
        if name != letter:
            place.markdown(f"**{name}** (side {letter})")
    classes.mark_samples(a.name, b.name)
    common = common_classes(*(models.loaded(spec).card.classes for spec in specs))
if said := common_sentence(common, names):
    st.info(said, icon=":material/info:")

first = links.bring("view", TABS[0], links.one_of(TABS))
one, many = st.tabs(TABS, key="view", default=first, bind="query-params")
if one.open:
    with one:
        if pictures.waiting():
            st.markdown(pictures.WAITS)
        else:
            one_photo.one_photo(specs, names, common, image_id)
if many.open:
    with many:
        many_photos.many_photos(specs, names, common)
along.take_along(dict(zip(names, specs, strict=True)), image_id)
