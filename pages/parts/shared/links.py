"""Settings in the URL: one name, one meaning; what a link or another page says is checked before a widget gets it."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from core.config import Range


def bring(key: str, default: Any, fits: Callable[[str], Any]) -> Any:
    """Before a widget with `bind`: put right what a link or another page says, where it is not possible here.

    Args:
        key: Of the widget and in the URL.
        default: Where nothing else fits.
        fits: Text to the value that the widget gets, or None if it is none.

    Returns:
        What the widget takes as its own default: None where its value was set here, since Streamlit allows only one.
    """
    if st.session_state.pop(f"put {key}", False) and fits(str(st.session_state[key])) == st.session_state[key]:
        return None
    ours = key in st.session_state
    held = st.session_state[key] if ours else st.query_params.get(key)
    if held is None:
        return default
    value = fits(str(held))
    if value == held or (
        value is not None and not ours and not isinstance(value, str)
    ):  # numbers: Streamlit reads them
        return default
    st.session_state[key] = default if value is None else value
    return None


def share(key: str, label: str, offered: Range, told: str) -> float:
    """A slider whose value stands in the URL.

    Args:
        key: Of the slider and in the URL.
        label: What stands above it.
        offered: What it may be, and is where no link says otherwise.
        told: The sentence behind its question mark.

    Returns:
        The share, among what is offered, whatever a link says.
    """
    low, high, step, usual = offered
    start = bring(key, usual, number(low, high))
    value = st.slider(label, low, high, start, step=step, key=key, bind="query-params", help=told)
    return min(high, max(low, float(value)))


def put(key: str, value: str) -> None:
    """In a callback: choose `value` in the widget of this key, which `bring` then leaves alone."""
    st.session_state[key] = value
    st.session_state[f"put {key}"] = True


def one_of(names: Sequence[str]) -> Callable[[str], str | None]:
    """For `bring`: a text that is one of `names`."""
    return lambda text: text if text in names else None


def number(low: float, high: float) -> Callable[[str], float | None]:
    """For `bring`: a number, clamped; a whole one where `low` is."""

    def fits(text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return None if value != value else type(low)(min(high, max(low, value)))

    return fits


def nearest(values: Sequence[float]) -> Callable[[str], float | None]:
    """For `bound.held`: that of `values`, which rise, next to a number."""
    fits = number(float(values[0]), float(values[-1]))

    def found(text: str) -> float | None:
        asked = fits(text)
        return None if asked is None else min(values, key=lambda value: abs(value - asked))

    return found
