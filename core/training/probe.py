"""A linear probe: what a frozen backbone sees of each photo, once, and a linear head learned on that in minutes."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from core.training.teachers import Classifier

HELD_EVERY = 10
"""One photo in this many chooses the decay, and is not learned from until it is chosen."""
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
"""L2 penalties tried, per weight of the head on standardised features."""


@torch.no_grad()
def features(
    model: Classifier, batches: Iterable[tuple[Tensor, Tensor]], on_batch: Callable[[int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """What the head reads of each photo, (M, D), and the labels, (M,).

    Args:
        model: One of timm's classifiers, in evaluation mode.
        batches: Images (B, 3, H, W), on the model's device, and labels (B,).
        on_batch: Called with the number of photos done.
    """
    found, labels, done = [], [], 0
    for images, wanted in batches:
        found.append(model.forward_head(model.forward_features(images), pre_logits=True).float().cpu())
        labels.append(wanted.cpu())
        done += len(wanted)
        if on_batch is not None:
            on_batch(done)
    return torch.cat(found), torch.cat(labels)


def fit_head(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, float]:
    """Multinomial logistic regression with the L2 penalty that answers best on a tenth of the photos.

    Args:
        x: Features, (M, D).
        labels: (M,), each below `classes`.
        classes: C.

    Returns:
        Weight (C, D), bias (C,), and the share of the tenth that was right while it was held out.
    """
    mean, std = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    x = (x - mean) / std
    held = torch.arange(len(x)) % HELD_EVERY == 0
    tried = []
    for decay in DECAYS:
        weight, bias = _logistic(x[~held], labels[~held], classes, decay)
        right = ((x[held] @ weight.T + bias).argmax(dim=1) == labels[held]).double().mean()
        tried.append((float(right), decay))
    right, decay = max(tried)
    weight, bias = _logistic(x, labels, classes, decay)
    weight = weight / std
    return weight, bias - weight @ mean, right


def _logistic(x: Tensor, labels: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) that minimise cross entropy + decay/2 |weight|^2, by L-BFGS from zero."""
    weight, bias = torch.zeros(classes, x.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()
