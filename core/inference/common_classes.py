"""The classes that two models both know, so that models of different classes can be compared on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.photos.walk import one_form
from core.results import ClassName, Prediction

LEAST = 2
"""On fewer classes no answer differs from another."""


@dataclass(frozen=True)
class CommonClasses:
    """Classes of models A and B that are the same thing."""

    a: tuple[int, ...]
    """Their positions in A, rising."""
    b: tuple[int, ...]
    """Their positions in B, in the same order."""
    known: tuple[int, int]
    """How many classes A and B know in all."""

    @property
    def are_all(self) -> bool:
        """Both know the same classes in the same order: there is nothing to leave out or to reorder."""
        return self.a == self.b == tuple(range(self.known[0])) and self.known[0] == self.known[1]

    @property
    def comparable(self) -> bool:
        """There are enough of them for an answer to differ."""
        return len(self.a) >= LEAST


def common_classes(a: Sequence[ClassName], b: Sequence[ClassName]) -> CommonClasses:
    """Match the classes of two models: by WordNet id, or by label where one of the two has no id.

    A label that stands for several classes left over on either side matches none of them.
    """
    if tuple(a) == tuple(b):
        every = tuple(range(len(a)))
        return CommonClasses(every, every, (len(a), len(b)))
    by_wnid = {name.wnid: j for j, name in enumerate(b) if name.wnid is not None}
    pairs = {i: by_wnid[name.wnid] for i, name in enumerate(a) if name.wnid in by_wnid}
    rest_a = _alone(a, set(pairs))
    rest_b = _alone(b, set(pairs.values()))
    for label, i in rest_a.items():
        j = rest_b.get(label)
        if j is not None and (a[i].wnid is None or b[j].wnid is None):
            pairs[i] = j
    places = sorted(pairs)
    return CommonClasses(tuple(places), tuple(pairs[i] for i in places), (len(a), len(b)))


def _alone(classes: Sequence[ClassName], taken: set[int]) -> dict[str, int]:
    """Of the classes not taken, those whose label no other one of them has, by that label in one form."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(classes):
        if i not in taken:
            found.setdefault(one_form(name.label), []).append(i)
    return {label: places[0] for label, places in found.items() if len(places) == 1}


def renormalised(probs: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Probabilities of some classes as shares of those classes alone: p_i / sum_j p_j.

    Args:
        probs: Over all classes of a model, (..., C).
        places: The classes, n of them.

    Returns:
        (..., n), each row with the sum 1.
    """
    some = np.maximum(np.float64(probs[..., list(places)]), np.finfo(np.float64).tiny)
    return some / some.sum(axis=-1, keepdims=True)


def on_common(a: Prediction, b: Prediction, common: CommonClasses) -> tuple[Prediction, Prediction]:
    """Both predictions over the common classes alone, under A's names and in A's order.

    Raises:
        ValueError: If the models have no class in common.
    """
    if common.are_all:
        return a, b
    if not common.a:
        raise ValueError("the two models have no class in common")
    names = tuple(a.classes[i] for i in common.a)
    return Prediction(renormalised(a.probs, common.a), names), Prediction(renormalised(b.probs, common.b), names)
