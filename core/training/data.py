"""ImageFolder directories as datasets: class subsets, timm's transforms, a held-out share of the training photos."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image
from timm.data import create_transform
from torch.utils.data import Dataset, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from core.config import Normalisation
from core.errors import InputError
from core.images import KINDS, load_photo
from core.photo_walk import Skipped, is_hidden, leads_back, one_form, same_names, walk
from core.results import ClassName

HOLDOUT_EVERY = 20
"""One training photo in this many is held out when a decision must be calibrated."""


class SelectedFolder(ImageFolder):
    """ImageFolder in which the labels follow `wanted`, whatever other folders stand beside them, read by our walk."""

    skipped: Skipped
    """What lay in those folders and is no photo of theirs."""

    def __init__(self, root: Path, wanted: Sequence[str], transform: object = None) -> None:
        """Args: `root` holds one folder per class; `wanted` names the folders, label 0 first."""
        self._wanted = list(wanted)
        super().__init__(str(root), transform=transform, loader=load_photo, allow_empty=True)

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Folders that are wanted and there; torchvision's documented hook for choosing classes."""
        found = same_names(self._wanted, class_folders(Path(directory), least=0))
        return list(found), found

    def make_dataset(self, directory: str, class_to_idx: dict[str, int], *_: object, **__: object) -> list:
        """Paths and labels, sorted by folder and name; torchvision's documented hook for choosing files."""
        folders = sorted(class_to_idx)
        walked = walk([Path(directory) / name for name in folders])
        self.skipped = walked.skipped
        return [
            (path, class_to_idx[name]) for name, paths in zip(folders, walked.photos, strict=True) for path in paths
        ]


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
    """Names of the class folders under `root`, sorted; hidden ones and links back to `root` are none.

    Raises:
        InputError: If there are fewer than `least`.
    """
    entries = [entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name)]
    names = sorted(entry.name for entry in entries if not (entry.is_symlink() and leads_back(str(entry))))
    if len(names) < least:
        raise InputError(f"{root} holds {len(names)} class folders; at least {least} are needed.")
    return names


def read_class_list(path: Path, available: Sequence[str]) -> list[str]:
    """Folder names from a text file, one a line, each once; what follows a name and a space or # is a remark.

    A line that names a folder as a whole, spaces and all, means that one.

    Raises:
        InputError: If the file cannot be read, names fewer than two folders, or one that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The class list {path} cannot be read; give a text file with one folder name a line."
        ) from error
    forms = {one_form(name): name for name in available} | {name: name for name in available}
    found = {line.strip(): _folder_of(line.strip(), forms) for line in lines if line.strip()}
    missing = [line for line, folder in found.items() if folder is None and not line.startswith("#")]
    if missing:
        name = missing[0].partition("#")[0].strip()
        raise InputError(f"The data has no class folder {name} ({len(missing)} of {path.name} are missing).")
    names = [name for name in dict.fromkeys(found.values()) if name is not None]
    if len(names) < 2:
        raise InputError(f"{path} names {len(names)} classes; at least 2 are needed.")
    return names


def _folder_of(line: str, forms: Mapping[str, str]) -> str | None:
    """The folder that a line of a class list names: its longest start, up to a space or #, that is one."""
    ends = [len(line), *(mark.start() for mark in reversed(list(re.finditer(r"\s+|#", line))))]
    starts = [line[:end].rstrip() for end in ends]
    return next((forms[name] for start in starts for name in (start, one_form(start)) if name in forms), None)


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
        raise InputError(f"{root} holds no photos ({KINDS}) of the wanted classes. {found.skipped.sentence}".strip())
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


def untouched(dataset: Dataset) -> Dataset:
    """The same photos as pictures, whatever transform a folder or a part of one puts on them."""
    if isinstance(dataset, Subset):
        return Subset(untouched(dataset.dataset), dataset.indices)
    plain = copy.copy(dataset)
    plain.transform = None
    return plain


def held_out(dataset: ImageFolder, *, rest: bool) -> Dataset:
    """Every 20th training photo (`rest=False`), or all others (`rest=True`); the same photos every time."""
    indices = [i for i in range(len(dataset)) if (i % HOLDOUT_EVERY == 0) is not rest]
    return Subset(dataset, indices)


def spread_over(dataset: Dataset, count: int) -> Dataset:
    """At most `count` photos at even distances: of a folder sorted by classes, some of each class."""
    return Subset(dataset, spread(range(len(dataset)), count)) if len(dataset) > count else dataset


def match_folders(root: Path, classes: Sequence[ClassName], least: int = 1, *, hint: str = "") -> tuple[list[str], int]:
    """The class folders under `root` in the order of the model's classes, and how many photos lie in other folders.

    A folder matches a class by wnid or by label, in any Unicode form; a class without a folder keeps its place.

    Args:
        root: Holds one folder per class.
        classes: Of the model.
        least: So many folders must match.
        hint: What else a person can do where none does, as the end of a sentence.

    Raises:
        InputError: If fewer than `least` folders match a class, one matches several, or several match one.
    """
    present = class_folders(root, least=1)
    labels = [c.label for c in classes]
    known = _places(c.wnid or "" for c in classes), _places(labels), _places(map(one_form, labels))
    owner = {name: at for name in present if (at := _class_of(name, classes, known, set(present))) is not None}
    folder = {at: name for name, at in owner.items()}
    if not owner:
        named = classes[0].wnid or classes[0].label
        raise InputError(f"No folder under {root} is named after a class that the model knows (such as {named}){hint}.")
    for name, at in owner.items():
        if folder[at] != name:
            raise InputError(f"{name} and {folder[at]} under {root} are folders of one class; put them into one.")
    if len(owner) < least:
        raise InputError(f"{root} has folders for only one of the model's classes; at least {least} are needed.")
    others = walk([root / name for name in present if name not in owner])
    return [folder.get(at, c.wnid or c.label) for at, c in enumerate(classes)], sum(map(len, others.photos))


def _places(names: Iterable[str]) -> dict[str, list[int]]:
    """Where each name stands."""
    found: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        found.setdefault(name, []).append(at)
    return found


def _class_of(
    folder: str, classes: Sequence[ClassName], known: tuple[dict[str, list[int]], ...], present: set[str]
) -> int | None:
    """Which class a folder is of: the one with that wnid, or else with that label, or that label in another form.

    Args:
        folder: Its name.
        classes: Of the model.
        known: Where wnids, labels and labels in one form stand among them.
        present: All folders; a label that names one is not for another.

    Raises:
        InputError: If several have that label.
    """
    wnids, labels, forms = known
    alike = [at for at in forms.get(one_form(folder), []) if classes[at].label not in present]
    found = wnids.get(folder) or labels.get(folder) or alike
    if len(found) > 1:
        nameless = [at for at in found if classes[at].wnid is None]  # the folder's name is the only one it has
        if len(nameless) != 1:
            raise InputError(f"The model knows {len(found)} classes named {folder}; name that folder by its wnid.")
        found = nameless
    return found[0] if found else None
