"""Teachers: any classifier of timm, trained here or elsewhere, that answers for a student's photos and classes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from core.config import ModelSpec, Normalisation
from core.errors import InputError
from core.families import deit
from core.models.cards import TeacherCard
from core.models.file_kinds import shown
from core.models.load import load
from core.models.releases.files import released_names
from core.models.releases.plain import released_classes
from core.models.weights import holds_card, load_weights, read_teacher
from core.results import ClassName

Classifier = Any
"""A model that timm has built, whose parts no type tells."""


class Teacher(nn.Module):
    """A classifier that takes a student's normalised images and gives logits of the student's classes."""

    own_mean: Tensor
    own_std: Tensor
    student_mean: Tensor
    student_std: Tensor
    """(3, 1, 1) each."""
    columns: Tensor
    """int (C,)."""

    def __init__(
        self,
        model: Classifier,
        *,
        img_size: int,
        normalisation: Normalisation,
        student: Normalisation,
        columns: Sequence[int],
    ) -> None:
        """Wrap a model.

        Args:
            model: Images (B, 3, img_size, img_size), normalised its own way, to logits.
            img_size: Pixels that it takes.
            normalisation: Its own.
            student: That of the images that come in.
            columns: Per class of the student, its place among the model's classes.
        """
        super().__init__()
        self.model: Classifier = model
        self.img_size = img_size
        for name, norm in (("own", normalisation), ("student", student)):
            self.register_buffer(f"{name}_mean", torch.tensor(norm.mean)[:, None, None], persistent=False)
            self.register_buffer(f"{name}_std", torch.tensor(norm.std)[:, None, None], persistent=False)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of the student's classes for the student's images (B, 3, H, W)."""
        return self.model(self._own(images))[:, self.columns]

    def sensitivity(self, images: Tensor, cells: int) -> Tensor:
        """How far the likeliest class's log probability hangs on each place of a late feature map, (B, h, w).

        The length of its gradient, which no label goes into.

        Args:
            images: The student's, (B, 3, H, W).
            cells: See `map_at`.

        Raises:
            InputError: As `map_at`.
        """
        at = self.map_at(cells)
        with torch.enable_grad():
            own = self._own(images).detach().requires_grad_()
            last, (features,) = self.model.forward_intermediates(own, indices=[at])
            logits = self.model.forward_head(last)[:, self.columns]
            best = logits.float().log_softmax(dim=-1).amax(dim=-1).sum()
            (gradient,) = torch.autograd.grad(best, features)
        return gradient.float().norm(dim=1)

    def map_at(self, cells: int) -> int:
        """Which of the feature maps is the deepest with at least half of `cells` places a side.

        Raises:
            InputError: If the model has no feature maps of several sizes, or all are smaller.
        """
        strides = [info["reduction"] for info in getattr(self.model, "feature_info", [])]
        fine = [i for i, stride in enumerate(strides) if self.img_size / stride >= cells / 2]
        if len(set(strides)) < 2 or not fine or not hasattr(self.model, "forward_intermediates"):
            raise InputError(
                f"--rank-by teacher needs a --teacher with feature maps of several sizes, one of them at least "
                f"{cells / 2:g} places a side, such as a CNN; this one has none."
            )
        return fine[-1]

    def _own(self, images: Tensor) -> Tensor:
        """The student's images (B, 3, H, W) as the model takes them."""
        if images.shape[-1] != self.img_size:
            size = (self.img_size, self.img_size)
            images = functional.interpolate(images, size, mode="bicubic", antialias=True)
        return (images * self.student_std + self.student_mean - self.own_mean) / self.own_std


def load_teacher(name: str | os.PathLike, classes: Sequence[ClassName], student: Normalisation) -> Teacher:
    """The teacher of that name, in evaluation mode, for a student of these classes.

    Args:
        name: A file that `train` wrote, a name that `models` lists, or any classifier of timm with ImageNet weights.
        classes: The student's.
        student: How the student's images are normalised.

    Raises:
        InputError: If there is no such model, or it lacks one of the classes.
    """
    name = os.fspath(name)
    path = Path(name).expanduser()
    ours = path.is_file() and holds_card(path)
    state, card = read_teacher(path) if ours else ({}, None)
    of_timm = timm.is_model(name) and not path.is_file()
    if card is not None:
        check_numbers(card, state, path)
        model, size, norm, known = build(card.timm, len(card.classes)), card.img_size, card.normalisation, card.classes
        load_weights(model, state, path)
    elif of_timm or not (path.is_file() or path.suffix or name.startswith("bundled-") or name in released_names()):
        model = build(name, None, pretrained=True)
        norm = deit.normalisation_of(model)
        size, known = model.pretrained_cfg["input_size"][-1], released_classes(model.num_classes)
    else:
        loaded = load(ModelSpec(name), download=True)
        model, size, norm, known = (
            loaded.model,
            loaded.card.geometry.img_size,
            loaded.card.normalisation,
            loaded.card.classes,
        )
    place = {label: i for i, c in reversed(list(enumerate(known))) for label in (c.label, c.wnid) if label}
    missing = [c for c in classes if (c.wnid or c.label) not in place]
    if missing:
        raise InputError(
            f"The teacher {name} does not know {missing[0].label} ({len(missing)} of {len(classes)} classes are "
            f"missing); choose one that was trained on the same classes."
        )
    columns = [place[c.wnid or c.label] for c in classes]
    return Teacher(model.eval(), img_size=size, normalisation=norm, student=student, columns=columns)


def check_numbers(card: TeacherCard, state: dict[str, Tensor], path: Path) -> None:
    """Refuse a file that names a model of other sizes than its weights have, before that takes memory.

    Raises:
        InputError: If it does, or timm does not know the name.
    """
    with torch.device("meta"):
        own = build(card.timm, len(card.classes)).state_dict()
    if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in state.items()}:
        raise InputError(f"{shown(path)} does not hold the weights that it describes, those of a {card.timm}.")


def build(name: str, classes: int | None, *, pretrained: bool = False) -> Classifier:
    """Any classifier of timm, in training mode, its convolutions laid out for speed.

    Raises:
        InputError: If timm does not know the name, or its weights are unavailable.
    """
    if not timm.is_model(name):
        raise InputError(f"timm knows no model {name}; try resnet18.")
    settings: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        model = timm.create_model(name, pretrained=pretrained, **settings)
    except Exception as error:  # whatever the hub's client raises without a network
        reason = "could not be downloaded; check the network and try again" if pretrained else "cannot be built so"
        raise InputError(f"{name} {reason}.") from error
    return model.to(memory_format=torch.channels_last)


def counted_macs(model: nn.Module, img_size: int) -> int:
    """MACs of one image by torch's counter, which counts two FLOPs each; `model` keeps its mode.

    Raises:
        InputError: If the model does not take images of this size.
    """
    training = model.training
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model.eval()(torch.zeros(1, 3, img_size, img_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"This model does not take {img_size} x {img_size} pixels; choose another --img-size."
        ) from error
    finally:
        model.train(training)
    return counter.get_total_flops() // 2
