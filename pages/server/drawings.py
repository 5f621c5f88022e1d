"""What is drawn alike for everybody, once."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

Drawing = TypeVar("Drawing")


@st.cache_resource(max_entries=64, show_spinner=False)
def drawn_once(what: str, of: tuple, _draw: Callable[[], Drawing]) -> Drawing:
    """What pages draw alike for everybody, and again at each turn of a control that it does not depend on.

    Args:
        what: Its name.
        of: All that it depends on.
        _draw: Makes it; nobody changes it afterwards.
    """
    return _draw()
