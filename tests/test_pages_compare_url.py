"""What a link says of A and B: written readably, read back, and checked."""

import pytest

from pages.parts.shared.sides import Side, read_side, write_side

METHODS = {"dense": "dense", "tokens": "tokens", "paths": "singlepath", "/home/~me/a.pth": "tokens"}


@pytest.mark.parametrize(
    ("side", "text"),
    [
        (Side("dense"), "dense"),
        (Side("tokens", "keep", 0.5), "tokens~keep=0.5"),
        (Side("tokens", "threshold", 0.0), "tokens~threshold=0"),
        (Side("paths", "budget", 60), "paths~budget=60"),
        (Side("/home/~me/a.pth", "keep", 0.35), "/home/~me/a.pth~keep=0.35"),
    ],
)
def test_link_is_readable_and_reads_back(side: Side, text: str) -> None:
    assert write_side(side) == text
    assert read_side(text, METHODS) == side


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("nobody", None),
        ("nobody~keep=0.5", None),
        ("", None),
        ("tokens, keep 40 %", None),
        ("tokens~keep=7", Side("tokens", "keep", 1.0)),
        ("tokens~keep=-7", Side("tokens", "keep", 0.1)),
        ("tokens~keep=0.52", Side("tokens", "keep", 0.5)),
        ("tokens~keep=1e999", Side("tokens", "keep", 1.0)),
        ("tokens~keep=nan", Side("tokens")),
        ("tokens~keep=", Side("tokens")),
        ("tokens~keep=<b>", Side("tokens")),
        ("tokens~budget=60", Side("tokens")),
        ("dense~keep=0.5", Side("dense")),
        ("paths~budget=60.4", Side("paths", "budget", 60)),
    ],
)
def test_what_makes_no_sense_is_moved_to_what_does(text: str, side: Side | None) -> None:
    assert read_side(text, METHODS) == side
