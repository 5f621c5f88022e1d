"""What families of timm have in common: models by name, the size of their images, new classes in old weights."""

from collections.abc import Callable, Sequence
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


def no_classes(name: str) -> str | None:
    """What the answers of one of timm's pretrained models are, as a sentence goes on; None: they name classes."""
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a tag of somebody's own
        config = None
    if config is None:
        return None
    if config.num_classes == 0:
        return "gives features, not classes"
    if "_clip_" in name and infer_imagenet_subset({"num_classes": config.num_classes}) is None:
        return f"is an image tower of CLIP: its {config.num_classes} numbers are an embedding, not classes"
    return None


def check_classifier(name: str, family: Any = None) -> None:
    """Refuse one of timm's pretrained models whose answers name no classes.

    Args:
        name: Of timm.
        family: Whose it is (`core.families.base.Family`); what it does not take, whatever it answers, is told so.

    Raises:
        InputError: If it has no classifier, or is an image tower of CLIP, whose answer is an embedding.
    """
    what = no_classes(name)
    if what is not None:
        if family is not None:
            with torch.device("meta"):  # takes no memory
                family.from_timm(name, classes=1)
        raise InputError(
            f"{name} {what}; `python -m core train --model {name} --pretrained --probe --data DIR` gives it a "
            "classifier of your own classes."
        )


def refused(model: nn.Module, name: str, choose: str) -> InputError:
    """What to say of a model that a family does not take: why, where its parts tell, and what it takes."""
    why = next((said for differs, said in DIFFERENCES if differs(model)), None)
    return InputError(f"{name} cannot be pruned here{': it ' + why if why else ''}; choose {choose}.")


def _some(model: nn.Module, *kinds: str) -> bool:
    """Whether a part of a model is of a class of one of these names."""
    return any(type(part).__name__ in kinds for part in model.modules())


def _ends(model: nn.Module, *ends: str) -> bool:
    """Whether a part of a model that does something has a name that ends so."""
    return any(name.endswith(ends) and not isinstance(part, nn.Identity) for name, part in model.named_modules())


DIFFERENCES: tuple[tuple[Callable[[nn.Module], bool], str], ...] = (
    (lambda model: getattr(model, "rope", None) is not None, "turns queries and keys by their places (rope)"),
    (lambda model: _some(model, "RelPosBias", "RelPosMlp"), "adds relative positions to its attention"),
    (lambda model: _some(model, "GluMlp", "SwiGLU", "SwiGLUPacked"), "has gated FFNs (SwiGLU)"),
    (
        lambda model: _some(model, "ParallelThingsBlock", "ParallelScalingBlock", "DiffParallelScalingBlock"),
        "runs several attentions or FFNs side by side",
    ),
    (lambda model: _some(model, "DiffAttention"), "takes the difference of two attentions"),
    (lambda model: _some(model, "ResPostBlock"), "normalises behind its attentions and FFNs, not before them"),
    (lambda model: _ends(model, "attn.norm", "mlp.norm"), "normalises inside its attentions or FFNs"),
    (lambda model: _ends(model, "attn.gate"), "gates its attentions"),
    (lambda model: _some(model, "ResNetV2", "ResNet"), "embeds its patches by a ResNet"),
    (lambda model: _some(model, "ViTamin", "HybridEmbed"), "embeds its patches by convolutions that overlap"),
    (lambda model: _some(model, "AttentionPoolLatent"), "answers from an attention pooling of another kind"),
)
"""What models of timm have that is not taken, and what those do; the first that fits is said."""


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


def sides(patch_embed: Any) -> tuple[int, int]:
    """The side of a model's square input, and that of a patch, pixels, strides of a stem included.

    Raises:
        InputError: If the input is not square, or no whole number of patches.
    """
    img_size, (rows, _) = square(patch_embed.img_size), patch_embed.grid_size
    if img_size % rows:
        raise InputError(
            f"Photos of {img_size} pixels are not {rows} whole patches wide, so their edge would be cut off; choose a "
            "model whose pixels are a multiple of its patches'."
        )
    return img_size, img_size // rows


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
