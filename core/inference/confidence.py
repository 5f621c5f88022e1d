"""Does an answer say anything at all? A model can only name classes that it knows, whatever the photo shows."""

import math

import numpy as np

from core.results import Prediction

LEAST_SHARE = 1 / math.log2(26)
"""Of a model that was never calibrated: one bit where there are 26 classes."""
KNOWN_FLAGGED = 0.1
"""Share of the photos of its own classes of which a calibrated model is let say that it knows nothing of them."""


def spread(prediction: Prediction) -> float:
    """As over how many equally likely classes an answer is spread: 2^H with its entropy H in bits, in [1, C]."""
    probs = np.float64(prediction.probs)
    return float(2 ** -np.sum(probs * np.log2(np.maximum(probs, 1e-300))))


def information_shares(probabilities: np.ndarray) -> np.ndarray:
    """How much answers say of what they could say: 1 - H / log2 C with the entropy H in bits, in [0, 1].

    0 is the same probability for every class, 1 is certainty. H / log2 C is the entropy relative to its highest value;
    log2 C - H, in bits, is the divergence of the answer from chance. One class alone is always certain.

    Args:
        probabilities: (..., C), each row sums to 1.

    Returns:
        Shares (...).
    """
    probs = np.asarray(probabilities, dtype=np.float64)
    classes = np.size(probs, -1)
    if classes == 1:
        return np.ones(probs.shape[:-1])
    entropy = -np.sum(probs * np.log2(np.maximum(probs, 1e-300)), axis=-1)
    return np.maximum(0.0, 1 - entropy / math.log2(classes))


def information_share(prediction: Prediction) -> float:
    """The same of one answer."""
    return float(information_shares(prediction.probs))


def least_share_of(probabilities: np.ndarray) -> float:
    """The share below which `KNOWN_FLAGGED` of these answers lie: those of a model on photos of its own classes.

    Args:
        probabilities: (photos, C).
    """
    return float(np.quantile(information_shares(probabilities), KNOWN_FLAGGED))


def knows_none(prediction: Prediction) -> bool:
    """Whether the photo probably shows none of the model's classes: its answer says less than the model's least share.

    That is what `core.models.cards.ModelCard.least_share` says, from validation photos, or else `LEAST_SHARE`.

    A share and not a number of bits, because what an answer can say at most is log2 C: of two classes certainty itself
    is one bit. m yes/no questions make 2^m classes; an answer that says the share t of a bit on each of them says t m
    of m bits on all of them: a share is the same demand for any number of classes. It is a hint, no proof: on the
    photos of a fifth of the bundled model's classes, left out of its answers, an entropy drawn like this recognised
    49 %, the logits' energy (Liu et al. 2020, arXiv:2010.03759) 51 %, the distance to the nearest training photos and
    energy together 56 %, the features' residual (ViM, Wang et al. 2022, arXiv:2203.10807) 59 %; a confident wrong
    answer stays unnoticed.

    In other words: the answer is spread as over more than C^(1 - t) classes, t the least share; with `LEAST_SHARE` over
    1.7 of 2, 13 of 26, 43 of 119, 230 of 1000. It always is where the likeliest class has less than C^(t - 1), since
    H >= -log2 of that.
    """
    least = LEAST_SHARE if prediction.least_share is None else prediction.least_share
    return information_share(prediction) < least
