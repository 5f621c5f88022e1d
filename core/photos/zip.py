"""A zip of photos, read in memory and never onto the disk: what it may hold, and what is left out and why."""

import io
import lzma
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import InputError
from core.photos.image import KINDS, MAX_UPLOAD_MB, MB, photo_suffixes
from core.photos.walk import Skipped, is_hidden

MAX_PHOTOS = 200
MAX_ENTRIES = 2000
"""Of all kinds, folders too."""
MAX_TOTAL_MB = 100
"""Of all photos together, unpacked: this bounds what a zip can unpack to."""
TOO_MANY = f"The zip holds more than {MAX_ENTRIES:,} files. Choose fewer."
END = b"PK\5\6"
"""Begins the last record of a zip; four bytes at 12 are the size of its list of files."""
DAMAGED = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
"""What reading a damaged zip may raise."""


@dataclass(frozen=True, eq=False)
class ZippedPhotos:
    """The photos of a zip, by their names in it, and what else was in there."""

    photos: tuple[tuple[str, bytes], ...]
    """Name and bytes; the bytes are still to be checked as a photo."""
    skipped: Skipped
    """Files that are no photos by name: nested zips, texts and the like."""
    dropped: tuple[str, ...]
    """A sentence for each reason why some photos could not be taken."""


def read_photo_zip(data: bytes) -> ZippedPhotos:
    """All photos of a zip that can be taken; what cannot is dropped, and said to be.

    Args:
        data: The zip file's bytes.

    Raises:
        InputError: If it is no zip or damaged as a whole, holds too many files, or no photo that can be taken.
    """
    end = data.rfind(END)
    if end >= 0 and int.from_bytes(data[end + 12 : end + 16], "little") > 2 * MB:  # before Python reads the list
        raise InputError(TOO_MANY)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError("That file is not a zip, or it is damaged. Pack the photos again.") from error
    except NotImplementedError as error:
        raise InputError("The zip is packed in a way that is not read here. Pack the photos again, plainly.") from error


def _read(archive: zipfile.ZipFile) -> ZippedPhotos:
    """See `read_photo_zip`."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise InputError(TOO_MANY)
    photos: list[tuple[str, bytes]] = []
    dropped: dict[str, list[str]] = {}
    others, hidden, room = Counter(), 0, MAX_TOTAL_MB * MB
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        ending = path.suffix.lower()
        if entry.is_dir():
            continue
        if any(is_hidden(part) for part in path.parts if part != ".."):
            hidden += ending in photo_suffixes()
        elif ending not in photo_suffixes():
            others[ending or "without an ending"] += 1
        elif reason := _why_not(entry, path, room, len(photos)):
            dropped.setdefault(reason, []).append(path.name[-60:])
        else:
            try:
                photos.append((entry.filename, _unpack(archive, entry)))
                room -= entry.file_size
            except DAMAGED:
                dropped.setdefault("damaged, pack it again", []).append(path.name[-60:])
            except (NotImplementedError, RuntimeError):  # a compression that Python lacks, or a password
                dropped.setdefault("packed in a way that is not read here", []).append(path.name[-60:])
    sentences = tuple(f"Skipped {_some(names)}: {reason}." for reason, names in dropped.items())
    if not photos:
        raise InputError(" ".join(sentences) or f"There is no photo in the zip ({KINDS}).")
    return ZippedPhotos(tuple(photos), Skipped(tuple(others.most_common()), hidden), sentences)


def _why_not(entry: zipfile.ZipInfo, path: PurePosixPath, room: int, photos: int) -> str | None:
    """Why a photo is not taken, as far as the zip's own list tells; `_unpack` does not believe it."""
    if path.is_absolute() or ".." in path.parts or path.as_posix()[1:2] == ":":
        return "a name that leads outside of the zip's own folder"
    if entry.flag_bits & 1:
        return "encrypted, pack the photos without a password"
    if entry.file_size > MAX_UPLOAD_MB * MB:
        return f"more than {MAX_UPLOAD_MB} MB"
    if photos == MAX_PHOTOS:
        return f"the zip holds more than {MAX_PHOTOS} photos"
    if entry.file_size > room:
        return f"the photos in the zip have more than {MAX_TOTAL_MB} MB unpacked"
    return None


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of one file, never more than the list says that it has.

    Raises:
        ValueError: If there are more or fewer.
    """
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ValueError(f"{len(data)} bytes, not {entry.file_size}")
    return data


def _some(names: list[str]) -> str:
    """A few names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
