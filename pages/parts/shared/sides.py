"""One side of a comparison as one readable value of a link: `bundled-tokens~keep=0.5`. Pure text, no Streamlit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.methods import KINDS

Key = Literal["keep", "threshold", "budget"]
HOW: dict[str, Key | None] = {"The model": None, "Keep ratio": "keep", "Threshold": "threshold"}
"""How a model with selectors can decide, and the setting of that."""
RANGES = {kind.name: kind.ranges for kind in KINDS.values()}
"""By method of the model: what can be set."""


@dataclass(frozen=True)
class Side:
    """A model and how it is set."""

    name: str
    setting: Key | None = None
    """None: as the model does by itself."""
    value: float | None = None
    """keep: share of what reaches each selector; threshold: on the keep probability; budget: percent of dense MACs."""


def write_side(side: Side) -> str:
    """What a link says: the name alone, or name~setting=value."""
    return side.name if side.setting is None else f"{side.name}~{side.setting}={side.value:g}"


def settings_of(text: str) -> dict[str, str]:
    """What other pages' links say for a side: the model, its setting, and for one with selectors how it decides.

    Args:
        text: As `write_side` writes it; of anything else nothing comes.
    """
    name, setting, value = re.fullmatch(r"(.*?)(?:~([a-z]+)=([^~]*))?", text, re.DOTALL).groups()
    how = next((word for word, key in HOW.items() if key == setting and key is not None), None)
    found = {"model": name, setting: value, "method": how}
    return {key: said for key, said in found.items() if key and said}


def read_side(text: str, methods: Mapping[str, str]) -> Side | None:
    """The side that a link names, its value moved to the nearest that the slider has.

    Args:
        text: Anything.
        methods: By the name of each model that can be compared here, its method.

    Returns:
        None if there is no such model; without a setting where the model does not have it or its value is no number.
    """
    found = re.fullmatch(r"(.*?)(?:~([a-z]+)=([^~]*))?", text, re.DOTALL)
    name, setting, value = found.groups()
    if name not in methods:
        return None
    offered = RANGES.get(methods[name], {}).get(setting)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return Side(name)
    if offered is None or number != number:
        return Side(name)
    return Side(name, setting, offered.nearest(number))
