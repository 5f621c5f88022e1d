"""What families of timm have in common: models by name, the size of their images, new classes in old weights."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.data import infer_imagenet_subset
from torch import Tensor, nn

from core.config import Normalisation
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
        InputError: If its weights are unavailable, or timm cannot build it so.
    """
    sizes = {"num_classes": classes, "img_size": img_size}
    settings: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    try:
        return timm.create_model(name, pretrained=pretrained, drop_path_rate=0.0, **settings)
    except Exception as error:  # whatever the hub's client raises without a network, or timm for an odd size
        reason = "could not be downloaded; check the network and try again" if pretrained else "cannot be built so"
        raise InputError(f"{name} {reason}.") from error


def check_classifier(name: str) -> None:
    """Refuse one of timm's pretrained models whose answers name no classes.

    Raises:
        InputError: If it has no classifier, or is an image tower of CLIP, whose answer is an embedding.
    """
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag of somebody's own
        config = None
    if config is None:
        return
    what = None
    if config.num_classes == 0:
        what = "gives features, not classes"
    elif "_clip_" in name and infer_imagenet_subset({"num_classes": config.num_classes}) is None:
        what = f"is an image tower of CLIP: its {config.num_classes} numbers are an embedding, not classes"
    if what is not None:
        raise InputError(
            f"{name} {what}; `python -m core train --model {name} --pretrained --probe --data DIR` gives it a "
            "classifier of your own classes."
        )


def normalisation_of(model: Any) -> Normalisation:
    """What timm says of the photos that a model of its was trained on."""
    config = model.pretrained_cfg
    return Normalisation(tuple(config["mean"]), tuple(config["std"]), config["crop_pct"], config["interpolation"])


def square(img_size: Sequence[Any]) -> int:
    """The side of a model's square input.

    Raises:
        InputError: If it is none.
    """
    height, width = img_size
    if height != width:
        raise InputError(f"Only square inputs are supported; this model takes {height} x {width} pixels.")
    return height


def check_size(images: Tensor, img_size: Sequence[Any]) -> None:
    """Refuse images (B, 3, H, W) that are not of the model's size.

    Raises:
        InputError: If they are not.
    """
    (height, width), found = img_size, images.shape[-2:]
    if found != (height, width):
        raise InputError(f"This model takes images of {height} x {width} pixels; these have {found[0]} x {found[1]}.")


def take_classes(model: nn.Module, state: dict[str, Tensor], classes: Sequence[int | None]) -> None:
    """Put the rows of the classifiers in order in a trained model's weights, in place.

    Args:
        model: To be trained further, with fresh weights.
        state: Of the trained model.
        classes: Per class of `model`, its place among those of the trained model; None: new, keeps its fresh weights.
    """
    for name, fresh in model.state_dict().items():
        if name.startswith(("head", "aux_head")):
            rows = [row if old is None else state[name][old] for row, old in zip(fresh, classes, strict=True)]
            state[name] = torch.stack(rows)


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a batch norm that keeps them, (c,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
