"""What a model's answers on a folder of photos are worth: calibration, classes, confusions, patches on the object."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 15
"""Of the calibration error, equally wide."""


@dataclass(frozen=True)
class Answers:
    """What one model said of some photos, in the folder's order."""

    probabilities: np.ndarray
    """(photos, classes), each row sums to 1."""
    labels: np.ndarray
    """Whole numbers (photos,)."""
    macs: np.ndarray
    """Per photo (photos,)."""
    kept: np.ndarray | None = None
    """Bool (photos, N): patches alive behind the last selector; None for a model without selectors."""

    @property
    def choices(self) -> np.ndarray:
        """The likeliest class per photo (photos,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Bool (photos,): the likeliest class is right."""
        return self.choices == self.labels

    def top(self, count: int) -> float:
        """Share of the photos whose label is among the `count` likeliest classes, in [0, 1]."""
        true = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)
        return float(((self.probabilities > true).sum(axis=1) < count).mean())


@dataclass(frozen=True)
class Difference:
    """Top-1 of one model minus that of another on the same photos, as a share."""

    mean: float
    margin: float | None
    """Half of its 95 % interval; None of a single photo, which has none."""


@dataclass(frozen=True)
class OnObject:
    """How well kept patches lie on the labelled object; shares in [0, 1], means over photos."""

    photos: int
    """With a box and at least one patch kept."""
    kept: float
    """Of the finally kept patches, those inside the box."""
    chance: float
    """Of all patches, those inside the box: what random keeping reaches."""
    best: float
    """What a perfect choice of as many patches reaches."""

    @property
    def way(self) -> float | None:
        """How far of the way from chance to the best; None where these are the same."""
        return (self.kept - self.chance) / (self.best - self.chance) if self.best > self.chance else None


def paired_interval(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> Difference:
    """Mean of `first` minus `second`, photo by photo, with the normal approximation 1.96 s / sqrt(n) of its interval.

    Args:
        first: Per photo, such as whether the answer was right.
        second: The same of another model, on the same photos in the same order.

    Raises:
        ValueError: If they are of different numbers of photos.
    """
    one, two = (np.asarray(values, dtype=float) for values in (first, second))
    if one.shape != two.shape:
        raise ValueError(f"{len(one)} and {len(two)} photos are no pairs")
    difference = one - two
    spread = float(1.96 * difference.std(ddof=1) / len(difference) ** 0.5) if len(difference) > 1 else None
    return Difference(float(difference.mean()), spread)


def calibration_error(answers: Answers) -> float:
    """Expected calibration error of the likeliest class, in [0, 1].

    Photos are binned by confidence; the error is the mean over photos of |accuracy - mean confidence| of their bin.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3, with 15 bins.
    """
    confidence, correct = answers.probabilities.max(axis=1), answers.correct
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.zeros(BINS)
    np.add.at(gaps, place, correct - confidence)
    return float(np.abs(gaps).sum() / len(correct))


def class_accuracy(answers: Answers, classes: int) -> list[float | None]:
    """Top-1 share per class; None for a class without photos."""
    photos = np.bincount(answers.labels, minlength=classes)
    hits = np.bincount(answers.labels[answers.correct], minlength=classes)
    return [float(hit / count) if count else None for hit, count in zip(hits, photos, strict=True)]


def confusions(answers: Answers, most: int = 10) -> list[tuple[int, int, int]]:
    """The commonest mistakes: the right class, the answer, and how many photos; commonest first."""
    wrong = ~answers.correct
    pairs = Counter(zip(answers.labels[wrong].tolist(), answers.choices[wrong].tolist(), strict=True))
    return [(*pair, count) for pair, count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]]


def patches_inside(
    box: tuple[float, float, float, float], view: tuple[float, float, float, float], grid: tuple[int, int]
) -> np.ndarray:
    """Which patches have their centre inside a box, bool (rows x columns,), row by row.

    Args:
        box: Left, top, right, bottom in pixels of the photo, the last ones included.
        view: Left, top, right, bottom of what the model sees of the photo, the last ones excluded.
        grid: Rows and columns of patches over the view.
    """
    left, top, right, bottom = view
    rows, columns = grid
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    across, down = (box[0] <= x) & (x <= box[2] + 1), (box[1] <= y) & (y <= box[3] + 1)
    return (down[:, None] & across[None, :]).ravel()


def on_object(kept: np.ndarray, inside: np.ndarray) -> OnObject:
    """How well kept patches lie on objects.

    Args:
        kept: Bool (photos, N), patches alive behind the last selector.
        inside: Bool (photos, N), patches inside the photo's box; photos without a box left out of both.

    Raises:
        ValueError: If no photo has a patch kept.
    """
    some = kept.any(axis=1)
    kept, inside = kept[some], inside[some]
    if not len(kept):
        raise ValueError("no photo has a patch kept")
    count, size = kept.sum(axis=1), inside.sum(axis=1)
    return OnObject(
        photos=len(kept),
        kept=float(((kept & inside).sum(axis=1) / count).mean()),
        chance=float(inside.mean()),
        best=float((np.minimum(count, size) / count).mean()),
    )
