"""Photos to train on: timm's transforms, a held-out share of the training photos, some of each class."""

import copy
from collections.abc import Callable, Sequence
from typing import cast

from PIL import Image
from timm.data import create_transform
from torch.utils.data import Dataset, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from core.config import Normalisation
from core.errors import InputError
from core.photos.class_folders import SelectedFolder
from core.photos.image import load_photo as load_photo  # where programs looked for it
from core.training.readable import Labelled, Readable

HOLDOUT_EVERY = 20
"""One training photo in this many is held out when a decision must be calibrated."""


class ShrinkTo:
    """Photos shrunk to a short side, so that what a photo shows and how sharp it is are not learned as one.

    Where some classes come as small pictures and others as large ones, sharpness would tell them apart.
    """

    def __init__(self, side: int) -> None:
        """Args: `side` in pixels; smaller photos stay as they are."""
        self.side = side

    def __call__(self, image: Image.Image) -> Image.Image:
        """The photo, or a smaller copy."""
        short = min(image.size)
        if short <= self.side:
            return image
        width, height = (max(1, round(edge * self.side / short)) for edge in image.size)
        return image.resize((width, height), Image.Resampling.BICUBIC)


def train_transform(
    img_size: int, norm: Normalisation, auto_augment: str | None, shrink_to: int | None = None
) -> Callable:
    """timm's training transform: random crop of 35 to 100 % of the area, flip, colour jitter, and `auto_augment`.

    Args:
        img_size: Pixels.
        norm: Of the model.
        auto_augment: timm's notation, such as rand-m9-mstd0.5-inc1.
        shrink_to: See `ShrinkTo`; None: photos as they are.

    Raises:
        InputError: If timm does not know that notation.
    """
    try:
        usual = create_transform(
            img_size,
            is_training=True,
            scale=(0.35, 1.0),
            color_jitter=0.3,
            auto_augment=auto_augment,
            interpolation=norm.interpolation,
            mean=norm.mean,
            std=norm.std,
        )
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"--auto-augment takes timm's notation, such as rand-m9-mstd0.5-inc1; not {auto_augment!r}."
        ) from error
    usual = cast(Callable, usual)
    return usual if shrink_to is None else transforms.Compose([ShrinkTo(shrink_to), usual])


def within_root(dataset: SelectedFolder) -> SelectedFolder:
    """The same photos, labelled root x C + class, for `core.training.objectives.Objective` with its `rivals`."""
    told = copy.copy(dataset)
    classes = len(dataset.wanted)
    told.targets = [root * classes + label for root, label in zip(dataset.root_of, dataset.targets, strict=True)]
    told.samples = [(path, label) for (path, _), label in zip(dataset.samples, told.targets, strict=True)]
    told.imgs = told.samples
    return told


def limited(dataset: Labelled, per_class: int) -> Subset:
    """At most `per_class` photos of each class, at even distances in the order of their names."""
    of: dict[int, list[int]] = {}
    for index, label in enumerate(labels_of(dataset)):
        of.setdefault(label, []).append(index)
    chosen = [spread(few, per_class) for few in of.values()]
    return Subset(dataset, [index for few in chosen for index in few])


def labels_of(dataset: Labelled) -> list[int]:
    """The label of each photo."""
    if not isinstance(dataset, Subset):
        return dataset.targets
    whole = labels_of(cast(Labelled, dataset.dataset))
    return [whole[index] for index in dataset.indices]


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, at even distances."""
    there = len(items)
    return [items[i * there // count] for i in range(count)] if there > count else list(items)


def untouched(dataset: Labelled) -> Labelled:
    """The same photos as pictures, whatever transform a folder or a part of one puts on them."""
    if isinstance(dataset, Subset):
        return Subset(untouched(cast(Labelled, dataset.dataset)), dataset.indices)
    plain = copy.copy(dataset)
    plain.transform = None
    return plain


def held_out(dataset: ImageFolder, *, rest: bool) -> Subset:
    """Every 20th training photo (`rest=False`), or all others (`rest=True`); the same photos every time."""
    indices = [i for i in range(len(dataset)) if (i % HOLDOUT_EVERY == 0) is not rest]
    return Subset(dataset, indices)


def spread_over(dataset: Labelled | Readable, count: int) -> Dataset:
    """At most `count` photos at even distances: of a folder sorted by classes, some of each class."""
    return Subset(dataset, spread(range(len(dataset)), count)) if len(dataset) > count else dataset
