"""Results in words, as a person reads them."""


def points(difference: float, margin: float | None) -> str:
    """A difference of two shares with its 95 % interval, in percentage points, as a person reads it."""
    return f"{100 * difference:+.2f}" + ("" if margin is None else f" ± {100 * margin:.2f}") + " points"
