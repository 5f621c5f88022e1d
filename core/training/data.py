"""ImageFolder directories as datasets: class subsets, timm's transforms, a held-out share of the training photos."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from timm.data import create_transform
from torch.utils.data import Dataset, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, pil_loader

from core.config import Normalisation
from core.errors import InputError
from core.results import ClassName

HOLDOUT_EVERY = 20
"""One training photo in this many is held out when a decision must be calibrated."""


def load_photo(path: str) -> Image.Image:
    """One photo of a dataset, RGB.

    Raises:
        InputError: If the file is no picture or is cut off.
    """
    try:
        return pil_loader(path)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has more pixels than a photo can have; make it smaller or remove it.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} is no picture or is cut off; mend or remove it.") from error


class SelectedFolder(ImageFolder):
    """ImageFolder in which the labels follow `wanted`, whatever other folders stand beside them."""

    def __init__(self, root: Path, wanted: Sequence[str], transform: object = None) -> None:
        """Args: `root` holds one folder per class; `wanted` names the folders, label 0 first."""
        self._wanted = list(wanted)
        super().__init__(str(root), transform=transform, loader=load_photo, allow_empty=True)

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Folders that are wanted and there; torchvision's documented hook for choosing classes."""
        present = {entry.name for entry in Path(directory).iterdir() if entry.is_dir()}
        labels = {name: label for label, name in enumerate(self._wanted) if name in present}
        return list(labels), labels


def split_root(data: Path, split: str) -> Path:
    """The folder of one split: `data/split` if it is there, else `data` itself for "val".

    Raises:
        InputError: If `data` is no folder, or has no such split to train on.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder; --data takes an ImageFolder root with one folder per class.")
    if (data / split).is_dir():
        return data / split
    if split == "train":
        raise InputError(f"{data} has no folder 'train'; training takes DATA/train/CLASS/photo.jpg.")
    return data


def class_folders(root: Path, least: int = 2) -> list[str]:
    """Names of the class folders under `root`, sorted.

    Raises:
        InputError: If there are fewer than `least`.
    """
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < least:
        raise InputError(f"{root} holds {len(names)} class folders; at least {least} are needed.")
    return names


def read_class_list(path: Path, available: Sequence[str]) -> list[str]:
    """Folder names from a text file, one a line; what follows a space or # is a remark.

    Raises:
        InputError: If the file cannot be read, names fewer than two folders, or one that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The class list {path} cannot be read; give a text file with one folder name a line."
        ) from error
    names = [line.split("#")[0].split()[0] for line in lines if line.split("#")[0].strip()]
    missing = sorted(set(names) - set(available))
    if missing:
        raise InputError(f"The data has no class folder {missing[0]} ({len(missing)} of {path.name} are missing).")
    if len(set(names)) < 2:
        raise InputError(f"{path} names {len(set(names))} classes; at least 2 are needed.")
    return list(dict.fromkeys(names))


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
        size = tuple(max(1, round(edge * self.side / short)) for edge in image.size)
        return image.resize(size, Image.Resampling.BICUBIC)


def train_transform(
    img_size: int, norm: Normalisation, auto_augment: str | None, shrink_to: int | None = None
) -> object:
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
    return usual if shrink_to is None else transforms.Compose([ShrinkTo(shrink_to), usual])


def photos(root: Path, folders: Sequence[str], transform: object) -> SelectedFolder:
    """The photos under `root` whose class is in `folders`.

    Raises:
        InputError: If there is none.
    """
    found = SelectedFolder(root, folders, transform)
    if not found.samples:
        raise InputError(
            f"{root} holds no photos of the wanted classes; files must end in {', '.join(IMG_EXTENSIONS)}."
        )
    return found


def limited(dataset: ImageFolder | Subset, per_class: int) -> Subset:
    """At most `per_class` photos of each class, at even distances in the order of their names."""
    of: dict[int, list[int]] = {}
    part = isinstance(dataset, Subset)
    labels = [dataset.dataset.targets[index] for index in dataset.indices] if part else dataset.targets
    for index, label in enumerate(labels):
        of.setdefault(label, []).append(index)
    chosen = [spread(few, per_class) for few in of.values()]
    return Subset(dataset, [index for few in chosen for index in few])


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of them, at even distances."""
    there = len(items)
    return [items[i * there // count] for i in range(count)] if there > count else list(items)


def held_out(dataset: ImageFolder, *, rest: bool) -> Dataset:
    """Every 20th training photo (`rest=False`), or all others (`rest=True`); the same photos every time."""
    indices = [i for i in range(len(dataset)) if (i % HOLDOUT_EVERY == 0) is not rest]
    return Subset(dataset, indices)


def spread_over(dataset: Dataset, count: int) -> Dataset:
    """At most `count` photos at even distances: of a folder sorted by classes, some of each class."""
    return Subset(dataset, spread(range(len(dataset)), count)) if len(dataset) > count else dataset


def match_folders(root: Path, classes: Sequence[ClassName], least: int = 1) -> tuple[list[str], int]:
    """The class folders under `root` in the order of the model's classes, and how many photos lie in other folders.

    A folder matches a class by wnid or by label; a class without a folder keeps its place.

    Raises:
        InputError: If fewer than `least` folders match a class, or one matches several.
    """
    present = set(class_folders(root, least=1))
    folders = [c.wnid if c.wnid in present else c.label for c in classes]
    twice = sorted(name for name in present if folders.count(name) > 1)
    if twice:
        raise InputError(
            f"The model knows {folders.count(twice[0])} classes named {twice[0]}; name that folder by its wnid."
        )
    if not present & set(folders):
        raise InputError(f"No folder under {root} is named after a class that the model knows (such as {folders[0]}).")
    if len(present & set(folders)) < least:
        raise InputError(f"{root} has folders for only one of the model's classes; at least {least} are needed.")
    others = present - set(folders)
    left_out = sum(1 for name in others for file in (root / name).rglob("*") if file.suffix.lower() in IMG_EXTENSIONS)
    return folders, left_out
