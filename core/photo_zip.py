"""A zip of photos, read in memory and never onto the disk: what it may hold, and what is left out."""

import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.errors import InputError

MAX_PHOTOS = 200
MAX_ENTRIES = 2000
"""Of all kinds, folders too."""
MAX_FILE_MB = 20
MAX_TOTAL_MB = 100
"""Of all photos together, unpacked."""
MAX_RATIO = 100
"""Photos are compressed already: whatever unpacks to a hundred times its size is no photo."""
TOO_MANY = f"The zip holds more than {MAX_ENTRIES:,} files. Choose fewer."
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MB = 2**20
END = b"PK\5\6"
"""Begins the last record of a zip; four bytes at 12 are the size of its list of files."""


@dataclass(frozen=True, eq=False)
class ZippedPhotos:
    """The photos of a zip, by their names in it, and how much else was in there."""

    photos: tuple[tuple[str, bytes], ...]
    """Name and bytes; the bytes are still to be checked as a photo."""
    left_out: int
    """Files that are no JPEG, PNG or WebP by name: nested zips, texts and the like."""


def read_photo_zip(data: bytes) -> ZippedPhotos:
    """All photos of a zip.

    Args:
        data: The zip file's bytes.

    Raises:
        InputError: If it is no zip, damaged or encrypted, a name in it leads out of its folder, there is no photo or
            there are too many files in it, or something in it is too large or unpacks to far more than it takes.
    """
    end = data.rfind(END)
    if end >= 0 and int.from_bytes(data[end + 12 : end + 16], "little") > 2 * MB:  # before Python reads the list
        raise InputError(TOO_MANY)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise InputError(TOO_MANY)
            files = [entry for entry in entries if not entry.is_dir()]
            for entry in files:
                _check_path(entry.filename)
            photos = [entry for entry in files if _is_photo(entry.filename)]
            _check(photos)
            return ZippedPhotos(tuple((e.filename, _unpack(archive, e)) for e in photos), len(files) - len(photos))
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise InputError("That file is not a zip, or it is damaged. Pack the photos again.") from error
    except (NotImplementedError, RuntimeError) as error:  # a compression that Python lacks, or a password
        raise InputError("The zip is packed in a way that is not read here. Pack the photos again, plainly.") from error


def _check_path(name: str) -> None:
    """Refuse a name that leads out of the zip's own folder: such a zip was made to overwrite files."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or path.as_posix()[1:2] == ":":
        raise InputError("The zip names a file outside of its own folder, so it is not read. Pack the photos again.")


def _is_photo(name: str) -> bool:
    """By name; what a Mac adds beside each file is none."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def _check(photos: list[zipfile.ZipInfo]) -> None:
    """The limits, as far as the zip's own list tells; `_unpack` does not believe it."""
    if not photos:
        raise InputError("There is no JPEG, PNG or WebP picture in the zip.")
    if len(photos) > MAX_PHOTOS:
        raise InputError(f"The zip holds {len(photos):,} photos; the limit is {MAX_PHOTOS}.")
    for entry in photos:
        if entry.flag_bits & 1:
            raise InputError("The zip is encrypted. Pack the photos without a password.")
        if entry.file_size > MAX_FILE_MB * MB:
            raise InputError(f"{_short(entry.filename)} in the zip has more than {MAX_FILE_MB} MB.")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise InputError(
                f"{_short(entry.filename)} in the zip unpacks to more than {MAX_RATIO} times its size, which no photo "
                "does; the zip is not read."
            )
    if sum(entry.file_size for entry in photos) > MAX_TOTAL_MB * MB:
        raise InputError(f"The photos in the zip have more than {MAX_TOTAL_MB} MB unpacked. Choose fewer.")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of one file, never more than the list says that it has.

    Raises:
        InputError: If there are more or fewer.
    """
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise InputError(f"{_short(entry.filename)} in the zip is not of the size that the zip says. Pack it again.")
    return data


def _short(name: str) -> str:
    """The end of a name, as one may show it."""
    return PurePosixPath(name.replace("\\", "/")).name[-60:]
