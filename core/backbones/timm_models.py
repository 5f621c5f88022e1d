"""Models of timm by name, for every family that timm has."""

import timm
from torch import nn

from core.errors import InputError


def create(
    name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
) -> nn.Module:
    """A model of timm, in training mode, without stochastic depth.

    Args:
        name: timm's name, with or without a pretrained tag.
        classes: C; None: as timm has it.
        pretrained: With timm's weights, downloaded where they are not cached.
        img_size: Pixels; None: as timm has it.

    Raises:
        InputError: If its weights are not to be had, or timm cannot build it so.
    """
    settings = {"num_classes": classes, "img_size": img_size}
    settings = {key: value for key, value in settings.items() if value is not None}
    try:
        return timm.create_model(name, pretrained=pretrained, drop_path_rate=0.0, **settings)
    except Exception as error:  # whatever the hub's client raises without a network, or timm for an odd size
        reason = "could not be downloaded; check the network and try again" if pretrained else "cannot be built so"
        raise InputError(f"{name} {reason}.") from error
