"""The photos in folders: one walk for all commands, what it leaves out and why, and names in one Unicode form."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InputError
from core.photos.image import is_photo, photo_suffixes

SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")
"""Folders that systems put beside a person's own, with small copies or remains of photos in them."""
Place = tuple[int, int]
"""Device and number of a folder: the same by whatever path it is reached."""


@dataclass(frozen=True)
class Skipped:
    """What lay among photos and is none of those that were found."""

    others: tuple[tuple[str, int], ...] = ()
    """Endings of files that are no photos, by name and by content, and how many; commonest first."""
    hidden: int = 0
    """Files with a photo's name that begins with a dot, as those that a Mac puts beside each file."""
    links: int = 0
    """Links to photos or folders that are counted already, or that hold the link itself."""
    broken: int = 0
    """Links that lead nowhere."""

    @property
    def files(self) -> int:
        """All of them."""
        return sum(count for _, count in self.others) + self.hidden + self.links + self.broken

    @property
    def sentence(self) -> str:
        """For a person; empty where nothing was skipped."""
        kinds = ", ".join(f"{count} {ending}" for ending, count in self.others[:5])
        kinds += ", ..." if len(self.others) > 5 else ""
        parts = [
            _counted(sum(count for _, count in self.others), "file that is not a photo", "files that are not photos")
            + f" ({kinds})",
            _counted(self.hidden, "hidden file", "hidden files"),
            _counted(self.links, "link to what is counted already", "links to what is counted already"),
            _counted(self.broken, "link that leads nowhere", "links that lead nowhere"),
        ]
        said = [part for part in parts if not part.startswith("0 ")]
        return f"Skipped {', '.join(said)}." if said else ""


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk found."""

    photos: tuple[tuple[str, ...], ...]
    """Paths of each folder that was given, by folder and name: those of a folder before those of the folders in it."""
    skipped: Skipped


@dataclass
class _Found:
    """A walk under way."""

    seen: set[Place] = field(default_factory=set)
    """Folders that were read."""
    targets: set[str] = field(default_factory=set)
    """Photos that links led to."""
    others: Counter = field(default_factory=Counter)
    hidden: int = 0
    links: int = 0
    broken: int = 0


def walk(folders: Sequence[str | Path]) -> Walked:
    """The photos in some folders and in the folders in them; hidden ones are left out.

    Links are followed, but a photo or a folder that is reached twice counts once, where it really lies if that is in
    one of these folders, and a link never leads back to a folder that it lies in.

    Raises:
        InputError: If a folder cannot be read.
    """
    found, photos, links = _Found(), [[] for _ in folders], []
    real = sorted(range(len(folders)), key=lambda at: (os.path.islink(folders[at]), at))
    for at in real:
        links += [(at, link) for link in _read(str(folders[at]), photos[at], found)]
    while links:
        at, link = links.pop(0)
        if os.path.isdir(link):
            if leads_back(link):
                found.links += 1
            else:
                links += [(at, more) for more in _read(link, photos[at], found)]
        elif not os.path.isfile(link):
            found.broken += 1
        elif _takes(link, found):
            target = os.path.realpath(link)
            if _is_listed(target, found) or target in found.targets:
                found.links += 1
            else:
                found.targets.add(target)
                photos[at].append(link)
    others = tuple(sorted(found.others.items(), key=lambda item: (-item[1], item[0])))
    skipped = Skipped(others, found.hidden, found.links, found.broken)
    return Walked(tuple(tuple(sorted(paths, key=os.path.split)) for paths in photos), skipped)


def _read(folder: str, photos: list[str], found: _Found) -> list[str]:
    """Add the photos of a folder and of the real folders in it to `photos`; the links in them."""
    links, todo = [], [folder]
    while todo:
        here = todo.pop()
        try:
            about = os.stat(here)
            if (place := (about.st_dev, about.st_ino)) in found.seen:
                found.links += os.path.islink(folder)
                continue
            found.seen.add(place)
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_hidden(entry.name):
                            todo.append(entry.path)
                    elif entry.is_symlink():
                        if not is_hidden(entry.name):
                            links.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and _takes(entry.path, found):
                        photos.append(entry.path)
        except OSError as error:
            raise InputError(f"The folder {here} cannot be read ({error.strerror}); name another one.") from error
    return sorted(links)


def _takes(path: str, found: _Found) -> bool:
    """Whether a file is taken for a photo: by its name, or else by its content; if not, it is counted."""
    name = os.path.basename(path)
    ending = os.path.splitext(name)[1].lower()
    if is_hidden(name):
        found.hidden += ending in photo_suffixes()
        return False
    if ending in photo_suffixes() or is_photo(path):
        return True
    found.others[ending or "without an ending"] += 1
    return False


def leads_back(link: str) -> bool:
    """Whether a link to a folder lies in that folder."""
    target, here = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath((target, here)) == target


def _is_listed(target: str, found: _Found) -> bool:
    """Whether a photo lies in a folder that was read."""
    about = os.stat(os.path.dirname(target))
    return (about.st_dev, about.st_ino) in found.seen and not is_hidden(os.path.basename(target))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not a person's own, by its name."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def one_form(name: str) -> str:
    """A name in the one Unicode form in which names are compared (NFC): a Mac may write é as e and an accent."""
    return unicodedata.normalize("NFC", name)


def same_names(wanted: Sequence[str], names: Iterable[str]) -> dict[str, int]:
    """Those of `names` that are wanted, with their positions in `wanted`.

    A name stands for itself, or else for the one left over that differs from it in its Unicode form alone.

    Raises:
        InputError: If several differ from it so.
    """
    names = list(names)
    place = {name: at for at, name in enumerate(wanted)}
    found = {name: place[name] for name in names if name in place}
    rest: dict[str, list[str]] = {}
    for name in names:
        if name not in found:
            rest.setdefault(one_form(name), []).append(name)
    for at, name in enumerate(wanted):
        alike = rest.get(one_form(name), []) if name not in found else []
        if len(alike) > 1:
            raise InputError(
                f"There are {len(alike)} folders named {name} that differ in their Unicode form alone; rename one."
            )
        found |= dict.fromkeys(alike, at)
    return found


def _counted(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many}"
