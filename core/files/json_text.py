"""JSON as the standard has it, for every file and every answer of ours: no NaN, no infinity."""

import json
import math
from collections.abc import Mapping


def json_text(value: object, indent: int | None = None) -> str:
    """A value of dictionaries, lists, texts and numbers as JSON; a number that is none, or infinite, becomes null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    """The same value with None in the place of NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
