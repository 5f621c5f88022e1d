"""Learning rates in proportion to the weights: a small matrix learns slower, so that no step is large beside it."""

from collections.abc import Iterable

from torch import nn

USUAL_SIZE = 0.01
"""Root mean square from which a matrix learns at the full rate: half of what ViTs are initialised with."""


def by_size(model: nn.Module, groups: Iterable[dict]) -> list[dict]:
    """Split parameter groups so that matrices smaller than `USUAL_SIZE` learn at a rate in proportion to their size.

    Adam moves every number by about the rate, whatever its size. Where LayerScale was folded into a layer, its numbers
    are a few thousandths, and a usual rate of fine-tuning overwrites them within some hundred steps. Matrices of the
    usual size, biases, norms and whatever is no weight of a layer keep their rate.

    Args:
        model: Whose parameters they are.
        groups: For an optimiser; "lr_scale", which timm's schedulers multiply rates with, is set or multiplied.

    Returns:
        Groups of the same parameters.

    Source: the relative step of Adafactor (Shazeer & Stern 2018, arXiv:1804.04235, section 8), in its simplest form.
    """
    sizes = {
        id(parameter): float(parameter.detach().square().mean().sqrt())
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name.endswith(".weight")
    }
    scales = {key: min(1.0, size / USUAL_SIZE) for key, size in sizes.items() if size > 0}  # zeros have no size yet
    split = []
    for group in groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
        for scale, params in parts.items():
            own = {} if scale == 1 else {"lr_scale": scale * group.get("lr_scale", 1.0)}
            split.append({**group, "params": params, **own})
    return split
