"""The pickers that pages share: picture, model, keep ratio, budget. Their values are in the URL."""

import hashlib

import streamlit as st

from core.errors import InputError
from core.images import MAX_UPLOAD_MB, open_photo
from pages import _shared, _url

UPLOAD = "Your own"
KINDS = {"dense": "dense model", "tokens": "model with token selectors", "singlepath": "single-path model"}


def pick_picture() -> str:
    """The picture of all pages: a sample's or an upload's id. In the URL as `pic`, the picture's title."""
    titles = {s.title: s.id for s in _shared.samples()}
    names = [*titles, UPLOAD]
    first = _url.bring("pic", names[0], _url.one_of(names))
    chosen = st.pills("Picture", names, default=first, key="pic", bind="query-params", required=True, wrap=True)
    if chosen == UPLOAD:
        return _uploaded(f"sample:{titles[names[0]]}", names[0])
    return f"sample:{titles.get(chosen, titles[names[0]])}"


def _uploaded(instead: str, title: str) -> str:
    """The id of the person's own picture, or `instead` until there is a good one; its bytes stay in this session."""
    file = st.file_uploader(
        f"JPEG, PNG or WebP, at most {MAX_UPLOAD_MB} MB",
        type=["jpg", "jpeg", "png", "webp"],
        max_upload_size=MAX_UPLOAD_MB,
        key=f"file{st.session_state.get('forgotten', 0)}",
    )
    if file is not None:
        data = file.getvalue()
        try:
            open_photo(data)
        except InputError as error:
            st.error(f"{error} Until there is a good one you see the sample “{title}”.", icon=":material/error:")
            return instead
        st.session_state["uploaded"] = {hashlib.sha256(data).hexdigest(): data}
    if not st.session_state.get("uploaded"):
        st.info(
            f"Drop a picture of your own. Until then you see the sample “{title}” with the same settings: a link never "
            "carries somebody's picture.",
            icon=":material/add_photo_alternate:",
        )
        return instead
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Stays in this session only; a link shows the sample “{title}” instead.", width="content")
        st.button("Forget it", on_click=_forget, icon=":material/delete:")
    return f"upload:{next(iter(st.session_state['uploaded']))}"


def _forget() -> None:
    """Drop the uploaded bytes, all that was computed from them, and the uploader that holds the file."""
    st.session_state.pop("uploaded", None)
    st.session_state["forgotten"] = st.session_state.get("forgotten", 0) + 1
    _shared.forget_photo()


def pick_model(method: str) -> str:
    """A model of this method, in the URL as `model`; for a model that lacks it (of another page): its sibling."""
    entries = [entry for entry in _shared.models() if entry.method == method and entry.available]
    if not entries:
        st.info(
            f"There is no {KINDS[method]} on this machine yet; train one, or put the bundled weights into assets/.",
            icon=":material/info:",
        )
        st.stop()
    names = [entry.name for entry in entries]
    sources = {entry.name: entry.source for entry in _shared.models()}

    def sibling(asked: str) -> str | None:
        return asked if asked in names else next((e.name for e in entries if e.source == sources.get(asked)), None)

    _url.bring("model", names[0], sibling)  # the widget's own default is the first
    chosen = st.selectbox("Model", names, key="model", bind="query-params")
    return chosen if chosen in names else names[0]


def pick_keep() -> float:
    """The keep ratio of each selector, in the URL as `keep`, a share of 1."""
    usual = _url.bring("keep", 0.7, _url.number(0.1, 1.0))
    ratio = st.slider(
        "Keep ratio of each selector",
        0.1,
        1.0,
        usual,
        step=0.05,
        format="percent",
        key="keep",
        bind="query-params",
        help="Each selector keeps this share of what reaches it, so 70 % leaves 70, 49 and 34 % of all patches.",
    )
    return min(1.0, max(0.1, float(ratio)))


def pick_budget(name: str) -> tuple[int, float]:
    """The single-path budget, in the URL as `budget`, in percent of the dense multiply-adds; and the same in MACs."""
    lowest, dense = _shared.lowest_share(name), _shared.reachable(name)[1]
    usual = _url.bring("budget", max(lowest, 60), _url.number(lowest, 100))
    share = st.slider(
        "Budget, % of the dense multiply-adds", lowest, 100, usual, 1, "%d %%", key="budget", bind="query-params"
    )
    share = min(100, max(lowest, int(share)))
    return share, dense * share / 100
