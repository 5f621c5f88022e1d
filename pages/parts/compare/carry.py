"""What another page showed comes along to Compare, as B."""

import streamlit as st

from core.config import BUDGET_RANGE
from core.methods import KINDS
from pages.parts.shared import bound
from pages.parts.shared.selection import MODES
from pages.parts.shared.sides import HOW, Side, read_side, write_side
from pages.server import budgets


def carry_over(methods: dict[str, str]) -> None:
    """Coming from a page that showed a pruned model: that, as it was set there, is B, unless B was set here before."""
    page, said = st.session_state.pop("came_from", (None, {}))
    side, now = _side_of(said, methods, page), bound.settings(("b",)).get("b")
    if side is not None and now in (None, st.session_state.get("carried")):
        text = write_side(read_side(write_side(side), methods))  # a value that its slider has
        st.session_state["carried"] = text
        bound.hold("b", text)


def _side_of(said: dict[str, str], methods: dict[str, str], page: str | None) -> Side | None:
    """What Tokens, Architecture or Budget showed; None where it was none, or a model not to compare."""
    name = said.get("model")
    if name not in methods:
        return None
    kind = KINDS[methods[name]]
    if kind.gated and page in ("pages/architecture.py", "pages/budget.py"):
        share = float(said.get("budget", BUDGET_RANGE.usual))
        return Side(name, "budget", max(budgets.lowest_share(name), round(share)))
    if kind.selects and page == "pages/tokens.py":
        setting = HOW.get(said.get("method", MODES[0]))
        return Side(name, setting, None if setting is None else float(said.get(setting, kind.ranges[setting].usual)))
    if kind.selects and not kind.carved and page == "pages/budget.py":
        return Side(name, "keep", float(said.get("keep", kind.ranges["keep"].usual)))
    return None
