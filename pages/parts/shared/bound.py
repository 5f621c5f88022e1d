"""Settings of components, in the URL and in the session: Streamlit binds only its own widgets to the URL."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

_HELD = "held"
"""Where the session keeps them: apart from widgets' keys, since a widget of another page may have the same name."""
_OF = "what settings are of"
"""Where it keeps of which other thing a setting is that belongs to one, such as a crop to its picture."""
_OURS = "set on this page"
"""Where it keeps which of them were set since this page was opened."""
_PAGE = "on_page"
"""Where `frame.guard` keeps which page that is."""
_SEEN = "settings of pages"
"""Where it keeps which of them each page has."""


def open_page(*, back: bool = False) -> None:
    """Another page is opened: what its URL says comes first again.

    Args:
        back: Somebody went back or forward to it, where what its URL does not say was not set.
    """
    for key in st.session_state.get(_SEEN, {}).get(st.session_state.get(_PAGE), ()):
        if back and key not in st.query_params:
            _keep(key, None)
    st.session_state[_OURS] = set()
    st.session_state[_OF] = {k: of for k, of in st.session_state.get(_OF, {}).items() if k not in st.query_params}


def held(key: str, default: Any, fits: Callable[[str], Any]) -> Any:
    """What a component shows: what the URL says, or else what it was set to before in this session.

    Once it was set here, the URL follows and says nothing new until `open_page`: a browser that has not heard of it yet
    still asks with the URL of before, and would take it back.

    Args:
        key: In the URL.
        default: Where neither says anything possible; it is not written to the URL.
        fits: As for `_url.bring`.
    """
    st.session_state.setdefault(_SEEN, {}).setdefault(st.session_state.get(_PAGE), set()).add(key)
    ours, text = key in st.session_state.get(_OURS, ()), st.session_state.get(_HELD, {}).get(key)
    if not ours:
        text = st.query_params.get(key, text)
    value = None if text is None else fits(str(text))
    _keep(key, value)
    if ours or value is None:
        _write(key, value)
    return default if value is None else value


def held_of(key: str, of: str, fits: Callable[[str], Any]) -> Any:
    """As `held`, for a setting of one thing: None as soon as the page shows another, until a link says it of that.

    Args:
        key: In the URL.
        of: What the setting is of.
        fits: As for `held`.
    """
    owners = st.session_state.setdefault(_OF, {})
    if owners.setdefault(key, of) != of:
        owners[key] = of
        hold(key, None)
    value = held(key, None, fits)
    _write(key, value)  # the page before may have set it
    return value


def hold(key: str, value: Any) -> None:
    """Remember what a component was set to, in the URL and for the other pages; None forgets it."""
    st.session_state.setdefault(_OURS, set()).add(key)
    _keep(key, value)
    _write(key, value)


def _keep(key: str, value: Any) -> None:
    kept = st.session_state.setdefault(_HELD, {})
    if value is None:
        kept.pop(key, None)
    else:
        kept[key] = value


def _write(key: str, value: Any) -> None:
    if value is None:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)


def settings(keys: Sequence[str]) -> dict[str, str]:
    """What widgets and components of the page before were set to, for those `keys` that have a value."""
    found = st.session_state.get(_HELD, {}) | {key: st.session_state[key] for key in keys if key in st.session_state}
    return {key: str(found[key]) for key in keys if key in found}
