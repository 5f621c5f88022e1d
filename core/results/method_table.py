"""Which method at which budget: what each one left of a dense model's answers, and what can be said of the best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.results.timings import Latency

Method = Literal["Tokens", "Single path", "Joint", "ToMe"]
TOKENS, SINGLE_PATH, JOINT, TOME = METHODS = ("Tokens", "Single path", "Joint", "ToMe")
CHANCE = 0.05
"""A lead that an even coin would give as often as that, or oftener, may be chance."""


@dataclass(frozen=True)
class Attempt:
    """One method at one share of the dense model's multiply-adds; nothing was trained for it."""

    method: Method
    share: float
    """Asked: MACs at or just below this share of the dense model's."""
    why_not: str | None = None
    """One sentence where the method cannot do it; then nothing below is known."""
    setting: str = ""
    """What ran, as options of the commands where they have some."""
    macs: float = math.nan
    """Of what ran, mean over the photos."""
    same: tuple[bool, ...] = ()
    """Per photo: the same first answer as the dense model."""
    mean_kl_nats: float = math.nan
    """KL of its answer from the dense model's, mean over the photos."""
    predicted_ms: float | None = None
    """From what parts take here; None where nothing predicts it."""
    measured: Latency | None = None
    """Of the first photo, taking turns with the dense model and the other methods at this share."""
    dense_measured: Latency | None = None
    """The dense model in the same turns."""

    @property
    def agreeing(self) -> int:
        """Photos with the same first answer."""
        return sum(self.same)


@dataclass(frozen=True)
class MethodTable:
    """All methods at all shares, on the same photos."""

    dense: str
    """Name of the dense model."""
    dense_macs: int
    photos: int
    answers: int
    """Different first answers that the dense model gives on them: of 1, agreement tells little."""
    dense_predicted_ms: float | None
    """By what predicts the methods' times."""
    rows: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        if any(len(row.same) != self.photos for row in self.rows if row.why_not is None):
            raise ValueError(f"{[len(row.same) for row in self.rows]} answers on {self.photos} photos")

    @property
    def shares(self) -> tuple[float, ...]:
        """Asked, in their order."""
        return tuple(dict.fromkeys(row.share for row in self.rows))

    def at(self, share: float) -> tuple[Attempt, ...]:
        """Of one share."""
        return tuple(row for row in self.rows if row.share == share)


@dataclass(frozen=True)
class Leaders:
    """Who agrees most at one share."""

    share: float
    best: tuple[Attempt, ...]
    """Equal in agreeing photos; more than one is a tie. None where no method can do this share."""
    near: tuple[Attempt, ...]
    """Those behind whose distance from the best may be chance, nearest first."""


def leaders(rows: Sequence[Attempt]) -> Leaders:
    """Of the methods at one share, those that agree with the dense model on most photos.

    Whether a distance may be chance is asked photo by photo, of those on which just one of the two agrees.
    """
    able = [row for row in rows if row.why_not is None]
    most = max((row.agreeing for row in able), default=0)
    best = tuple(row for row in able if row.agreeing == most)
    near = [
        row for row in able if row.agreeing < most and any(sign_test(first.same, row.same) >= CHANCE for first in best)
    ]
    return Leaders(rows[0].share, best, tuple(sorted(near, key=lambda row: -row.agreeing)))


def sign_test(first: Sequence[bool], second: Sequence[bool]) -> float:
    """How often an even coin would set two methods as far apart as this, or farther, in [0, 1].

    Of n photos on which just one of the two agrees, the more frequent one has k: 2 P(Binomial(n, 1/2) >= k), at most 1.

    Args:
        first: Per photo, whether a method agrees.
        second: The same of another, on the same photos.
    """
    wins = sum(a and not b for a, b in zip(first, second, strict=True))
    losses = sum(b and not a for a, b in zip(first, second, strict=True))
    apart, more = wins + losses, max(wins, losses)
    return min(1.0, 2 * sum(math.comb(apart, k) for k in range(more, apart + 1)) / 2**apart)
