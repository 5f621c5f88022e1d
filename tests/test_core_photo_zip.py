"""Zips of photos: what is read, and each way in which one can be bad."""

import io
import struct
import zipfile

import pytest

from core import photo_zip
from core.errors import InputError
from core.photo_zip import read_photo_zip

PHOTO = bytes(range(256)) * 4  # its content is checked later, by `open_photo`


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_photos_come_out_with_their_names_and_the_rest_is_counted() -> None:
    inner = zipped({"hidden.jpg": PHOTO})
    found = read_photo_zip(
        zipped({"a.jpg": PHOTO, "in/b.PNG": b"x", "notes.txt": b"t", "inner.zip": inner, "__MACOSX/in/._b.png": b"m"})
    )
    assert found.photos == (("a.jpg", PHOTO), ("in/b.PNG", b"x"))
    assert found.left_out == 3  # nested zips are not opened


def lying_about_its_size() -> bytes:
    data = bytearray(zipped({"a.jpg": PHOTO}))
    at = data.rfind(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 10)  # the list says 10 bytes
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zipped({"a.jpg": PHOTO}))
    data[data.rfind(b"PK\1\2") + 8] |= 1
    return bytes(data)


def unknown_compression() -> bytes:
    data = bytearray(zipped({"a.jpg": PHOTO}))
    at = data.rfind(b"PK\1\2")
    data[at + 10 : at + 12] = data[8:10] = struct.pack("<H", 97)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a zip, or it is damaged"),
        (b"no zip at all", "not a zip, or it is damaged"),
        (zipped({"a.jpg": PHOTO})[:-30], "not a zip, or it is damaged"),
        (zipped({"a.jpg": PHOTO}, zipfile.ZIP_STORED).replace(b"\5\6\7", b"???"), "not a zip, or it is damaged"),
        (lying_about_its_size(), "not a zip, or it is damaged"),
        (encrypted(), "Pack the photos without a password"),
        (unknown_compression(), "packed in a way that is not read here"),
        (zipped({"/etc/a.jpg": PHOTO}), "outside of its own folder"),
        (zipped({"in/../../a.jpg": PHOTO}), "outside of its own folder"),
        (zipped({"..\\a.jpg": PHOTO}), "outside of its own folder"),
        (zipped({"C:\\a.jpg": PHOTO}), "outside of its own folder"),
        (zipped({"../notes.txt": PHOTO, "a.jpg": PHOTO}), "outside of its own folder"),
        (zipped({"notes.txt": b"t"}), "no JPEG, PNG or WebP picture in the zip"),
        (zipped({}), "no JPEG, PNG or WebP picture in the zip"),
        (zipped({"bomb.png": bytes(2**20)}), "bomb.png in the zip unpacks to more than 100 times its size"),
        (zipped({"large.png": bytes(21 * 2**20)}), "large.png in the zip has more than 20 MB"),
        (zipped({f"{i}.jpg": b"x" for i in range(201)}), "201 photos; the limit is 200"),
        (zipped({f"{i}.txt": b"" for i in range(2001)}), "more than 2,000 files"),
        (zipped({f"{i:0200}.txt": b"" for i in range(9000)}), "more than 2,000 files"),
    ],
)
def test_bad_zip_gets_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_photo_zip(data)
    assert "\n" not in str(caught.value)


def test_photos_that_are_too_much_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{i}.jpg": bytes(range(256)) * 2048 for i in range(3)}, zipfile.ZIP_STORED)
    assert len(read_photo_zip(data).photos) == 3
    monkeypatch.setattr(photo_zip, "MAX_TOTAL_MB", 1)
    with pytest.raises(InputError, match="more than 1 MB unpacked"):
        read_photo_zip(data)


def test_nothing_is_written_to_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    read_photo_zip(zipped({"a.jpg": PHOTO}))
    assert not list(tmp_path.iterdir())
