"""Folders of photos, one folder a class: several roots together, classes by name, read by our walk and our reader.

Several directories are taken together: class folders of one name are one class.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder

from core.errors import InputError
from core.photos.image import KINDS, load_photo
from core.photos.walk import Skipped, is_hidden, leads_back, one_form, same_names, walk
from core.results import ClassName


class SelectedFolder(ImageFolder):
    """ImageFolder in which the labels follow `wanted`, whatever other folders stand beside them, read by our walk."""

    skipped: Skipped
    """What lay in those folders and is no photo of theirs."""
    root_of: list[int]
    """Which of the roots each photo lies under."""

    def __init__(self, roots: Sequence[Path], wanted: Sequence[str], transform: Callable | None = None) -> None:
        """Args: each of `roots` holds one folder per class; `wanted` names the folders, label 0 first."""
        self._roots, self.wanted = tuple(roots), list(wanted)
        super().__init__(str(roots[0]), transform=transform, loader=load_photo, allow_empty=True)

    def find_classes(self, _: str) -> tuple[list[str], dict[str, int]]:
        """Folders that are wanted and there; torchvision's documented hook for choosing classes."""
        found = same_names(self.wanted, class_folders(self._roots, least=0))
        return list(found), found

    def make_dataset(self, _: str, class_to_idx: dict[str, int], *__: object, **___: object) -> list:
        """Paths and labels by folder, root and name; torchvision's documented hook for choosing files."""
        each = [
            {label: root / name for name, label in same_names(self.wanted, _folders_in(root)).items()}
            for root in self._roots
        ]  # of each root, its folders by label
        labels = [class_to_idx[name] for name in sorted(class_to_idx)]
        folders = [(label, at) for label in labels for at, found in enumerate(each) if label in found]
        walked = walk([each[at][label] for label, at in folders])
        self.skipped = walked.skipped
        self.root_of = [at for (_, at), paths in zip(folders, walked.photos, strict=True) for _ in paths]
        return [(path, label) for (label, _), paths in zip(folders, walked.photos, strict=True) for path in paths]


def split_roots(data: Sequence[Path], split: str) -> tuple[Path, ...]:
    """The folders of one split: `split` in each root if it is there, else the root itself for "val".

    Raises:
        InputError: If a root is no folder, has no such split to train on, or two of them lead to one folder.
    """
    found: list[Path] = []
    for root in data:
        if not root.is_dir():
            raise InputError(f"{root} is not a folder; --data takes an ImageFolder root with one folder per class.")
        if split == "train" and not (root / split).is_dir():
            raise InputError(f"{root} has no folder 'train'; training takes DATA/train/CLASS/photo.jpg.")
        folder = root / split if (root / split).is_dir() else root
        if any(os.path.samefile(folder, other) for other in found):
            raise InputError(f"--data leads to {folder} twice, and its photos would count twice; name it once.")
        found.append(folder)
    return tuple(found)


def named(roots: Sequence[Path]) -> str:
    """The roots as a sentence names them."""
    return " and ".join(map(str, roots))


def class_folders(roots: Sequence[Path], least: int = 2) -> list[str]:
    """Names of the class folders under all `roots`, sorted; hidden ones and links back to their root are none.

    Names that differ in their Unicode form alone are one where they are of different roots, in the form of the first.

    Raises:
        InputError: If there are fewer than `least`; or in one of several roots none.
    """
    names: list[str] = []
    for root in roots:
        here, needed = _folders_in(root), least if len(roots) == 1 else min(least, 1)
        if len(here) < needed:
            raise InputError(f"{root} holds {len(here)} class folders; at least {needed} are needed.")
        known = same_names(names, here)
        names += [name for name in here if name not in known]
    if len(names) < least:
        raise InputError(f"{named(roots)} hold {len(names)} class folders; at least {least} are needed.")
    return sorted(names)


def _folders_in(root: Path) -> list[str]:
    """Names of the class folders under one root, sorted."""
    entries = [entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name)]
    return sorted(entry.name for entry in entries if not (entry.is_symlink() and leads_back(str(entry))))


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


def photos(roots: Sequence[Path], folders: Sequence[str], transform: Callable | None) -> SelectedFolder:
    """The photos under `roots` whose class is in `folders`.

    Raises:
        InputError: If there is none.
    """
    found = SelectedFolder(roots, folders, transform)
    if not found.samples:
        hold = "hold" if len(roots) > 1 else "holds"
        sentence = f"{named(roots)} {hold} no photos ({KINDS}) of the wanted classes. {found.skipped.sentence}"
        raise InputError(sentence.strip())
    return found


def classes_under(roots: Sequence[Path], folders: Sequence[str]) -> Tensor:
    """Which of the classes each root has a folder for, (R, C), bool; `folders` in label order."""
    found = torch.zeros(len(roots), len(folders), dtype=torch.bool)
    for row, root in zip(found, roots, strict=True):
        row[list(same_names(folders, _folders_in(root)).values())] = True
    return found


def match_folders(
    roots: Sequence[Path], classes: Sequence[ClassName], least: int = 1, *, hint: str = ""
) -> tuple[list[str], int]:
    """The class folders under `roots` in the order of the model's classes, and how many photos lie in other folders.

    A folder matches a class by wnid or by label, in any Unicode form; a class without a folder keeps its place.

    Args:
        roots: Each holds one folder per class.
        classes: Of the model.
        least: So many folders must match.
        hint: What else a person can do where none does, as the end of a sentence.

    Raises:
        InputError: If fewer than `least` folders match a class, or none of a root, one matches several, or several one.
    """
    present = class_folders(roots, least=1)
    labels = [c.label for c in classes]
    known = _places(c.wnid or "" for c in classes), _places(labels), _places(map(one_form, labels))
    owner = {name: at for name in present if (at := _class_of(name, classes, known, set(present))) is not None}
    folder = {at: name for name, at in owner.items()}
    others: list[Path] = []
    for root in roots:
        here = _folders_in(root)
        known_here = same_names(list(owner), here)
        if not known_here:
            such = classes[0].wnid or classes[0].label
            raise InputError(
                f"No folder under {root} is named after a class that the model knows (such as {such}){hint}."
            )
        others += [root / name for name in here if name not in known_here]
    for name, at in owner.items():
        if folder[at] != name:
            mend = "give them one name" if len(roots) > 1 else "put them into one"
            raise InputError(f"{name} and {folder[at]} under {named(roots)} are folders of one class; {mend}.")
    if len(owner) < least:
        have = "have" if len(roots) > 1 else "has"
        raise InputError(
            f"{named(roots)} {have} folders for only one of the model's classes; at least {least} are needed."
        )
    return [folder.get(at, c.wnid or c.label) for at, c in enumerate(classes)], sum(map(len, walk(others).photos))


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
