"""What an engine that computes in fewer bits than the weights have does to a model's answers."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from core.inference.agreements import agreement
from core.inference.trace import prediction_of
from core.latency.engines import Runner
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results import Prediction
from core.results.timings import Rounding
from core.soft_tokens.fixed import graph_of


def rounding(exact: Prediction, rounded: Prediction) -> Rounding:
    """Compare an answer in float32 with that of the same model in fewer bits."""
    largest = float(np.abs(np.float64(exact.probs) - rounded.probs).max())
    return Rounding(exact.top(1)[0].label, agreement(exact, rounded).same_top1, largest)


@torch.inference_mode()
def roundings(loaded: Loaded, run: Runner, photos: Sequence[Image.Image]) -> tuple[Rounding, ...]:
    """How far each answer of a model moves in an engine.

    Args:
        loaded: Doing the same for every photo.
        run: The same in the engine, made for one photo.
        photos: At any size.

    Raises:
        InputError: If the model needs keep ratios and has none.
    """
    graph, device = graph_of(loaded.model, loaded.spec.keep, loaded.spec.name), next(loaded.model.parameters()).device
    found = []
    for photo in photos:
        image = to_tensor(photo, loaded.card).to(device)
        exact, there = graph(image), run(image)
        found.append(rounding(prediction_of(loaded, exact), prediction_of(loaded, there)))
    return tuple(found)
