"""Does an answer say anything at all? A model can only name classes that it knows, whatever the photo shows."""

import math

import numpy as np

from core.results import Prediction

LEAST_SHARE = 1 / math.log2(26)
"""An answer that says a smaller share of what it could say counts as none; one bit where there are 26 classes."""


def spread(prediction: Prediction) -> float:
    """As over how many equally likely classes an answer is spread: 2^H with its entropy H in bits, in [1, C]."""
    probs = np.float64(prediction.probs)
    return float(2 ** -np.sum(probs * np.log2(np.maximum(probs, 1e-300))))


def information_share(prediction: Prediction) -> float:
    """How much an answer says of what it could say: 1 - H / log2 C with its entropy H in bits, in [0, 1].

    0 is the same probability for every class, 1 is certainty. H / log2 C is the entropy relative to its highest value;
    log2 C - H, in bits, is the divergence of the answer from chance. One class alone is always certain.
    """
    classes = len(prediction.probs)
    return 1.0 if classes == 1 else max(0.0, 1 - math.log2(spread(prediction)) / math.log2(classes))


def knows_none(prediction: Prediction) -> bool:
    """Whether the photo probably shows none of the model's classes: its answer says less than `LEAST_SHARE`.

    A share and not a number of bits, because what an answer can say at most is log2 C: of two classes certainty itself
    is one bit. m yes/no questions make 2^m classes; an answer that says the share t of a bit on each of them says t m
    of m bits on all of them: a share is the same demand for any number of classes. Where the line is drawn was measured
    at 26 classes, where it is one bit: of 650 validation photos of its own classes `bundled-tokens` answers below it
    for 8 %, of 529 of others for 30 %, `bundled-dense` for 12 and 40 %: a hint, no proof, and a confident wrong answer
    stays unnoticed.

    In other words: the answer is spread as over more than C^(1 - t) classes, t = `LEAST_SHARE`: 1.7 of 2, 13 of 26, 43
    of 119, 230 of 1000. It always is where the likeliest class has less than C^(t - 1), since H >= -log2 of that.
    """
    return information_share(prediction) < LEAST_SHARE
