"""How patches of a model without selectors are ranked: before which blocks, and how much attention stays."""

from collections.abc import Sequence

import streamlit as st

from core.config import MASS_RANGE
from core.models.load import Loaded
from core.soft_tokens.schedules import schedule_macs
from pages.parts.shared import bound, links
from pages.server import keeping, models

FREE = 0.001
"""Share of the dense model's multiply-adds below which ranking is called free."""


def pick_blocks(name: str) -> tuple[int, ...]:
    """Blocks before which patches are ranked, in the URL as `blocks`, counted from 0 there and from 1 on the screen."""
    places = keeping.ranking_places(name)
    whole = models.loaded(keeping.keep_spec(name, 1.0))
    usual = whole.card.selectors.blocks

    def fits(text: str) -> str | None:
        """The same blocks as the URL has them, "3,6,9"; None where one is not possible."""
        asked = sorted({int(part) for part in text.split(",") if part.isdecimal() and len(part) < 4})
        return written(asked) if asked and set(asked) <= set(places) else None

    def written(blocks: Sequence[int]) -> str:
        return ",".join(map(str, blocks))

    picked = [int(block) for block in bound.held("blocks", written(usual), fits).split(",")]
    chosen = st.multiselect(
        "Rank patches before block",
        places,
        default=picked,
        format_func=lambda block: str(block + 1),
        key="ranked_before",
        on_change=_hold_blocks,
        help="Nothing was trained for this: before each of these blocks patches are ranked by how much attention they "
        "get, from the class token or, in a model without one, from all tokens; those that leave are folded into a "
        f"package. {_price(whole)}",
    )
    return tuple(sorted(chosen)) or usual


def _price(whole: Loaded) -> str:
    """What looking costs where every patch is looked at, which is the most, as a sentence."""
    geometry, model = whole.card.geometry, whole.model
    looking = schedule_macs(geometry, model.blocks, whole.spec.keep, model.layers).selectors / whole.dense_macs
    free = "is as good as free" if looking < FREE else "costs little"
    return f"Ranking {free}: it has no weights, and takes {looking:.2%} of the dense model's multiply-adds at most."


def _hold_blocks() -> None:
    chosen = sorted(st.session_state["ranked_before"])
    bound.hold("blocks", ",".join(map(str, chosen)) or None)


def pick_mass() -> float:
    """The share of the class token's attention that is kept, in the URL as `mass`."""
    return links.share(
        "mass",
        "Keep the fewest patches that hold this share of the attention",
        MASS_RANGE,
        "Of the class token's attention (or, in a model without one, all tokens') on the patches that are left, before "
        "each of the blocks.",
    )
