"""Zips of photos: what is read, and each way in which one can be bad."""

import io
import struct
import zipfile

import pytest

from core.errors import InputError
from core.photos import zip as photo_zip
from core.photos.zip import read_photo_zip

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
    assert found.skipped.sentence == "Skipped 2 files that are not photos (1 .txt, 1 .zip), 1 hidden file."
    assert found.dropped == ()


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
        (
            zipped({"a.jpg": PHOTO}, zipfile.ZIP_STORED).replace(b"\5\6\7", b"???"),
            "Skipped a.jpg: damaged, pack it again",
        ),
        (lying_about_its_size(), "Skipped a.jpg: damaged, pack it again"),
        (encrypted(), "Skipped a.jpg: encrypted, pack the photos without a password"),
        (unknown_compression(), "packed in a way that is not read here"),
        (zipped({"/etc/a.jpg": PHOTO}), "outside of the zip's own folder"),
        (zipped({"in/../../a.jpg": PHOTO}), "outside of the zip's own folder"),
        (zipped({"..\\a.jpg": PHOTO}), "outside of the zip's own folder"),
        (zipped({"C:\\a.jpg": PHOTO}), "outside of the zip's own folder"),
        (zipped({"notes.txt": b"t"}), "no photo in the zip"),
        (zipped({}), "no photo in the zip"),
        (zipped({"large.png": bytes(21 * 2**20)}), "Skipped large.png: more than 20 MB"),
        (zipped({f"{i}.txt": b"" for i in range(2001)}), "more than 2,000 files"),
        (zipped({f"{i:0200}.txt": b"" for i in range(9000)}), "more than 2,000 files"),
    ],
)
def test_bad_zip_gets_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_photo_zip(data)
    assert "\n" not in str(caught.value)


def test_an_odd_photo_is_dropped_and_said_to_be_and_the_others_are_read() -> None:
    """Each of these made the whole zip refused once."""
    odd = {"../up.jpg": PHOTO, "large.png": bytes(21 * 2**20), "b.jpg": PHOTO}
    data = zipped({"a.jpg": PHOTO, **odd, "lens_cap.jpg": bytes(2**20)}).replace(b"b.jpg", b"c.jpg", 1)
    found = read_photo_zip(data)
    assert [name for name, _ in found.photos] == ["a.jpg", "lens_cap.jpg"]  # a black photo packs to a thousandth
    assert found.dropped == (
        "Skipped up.jpg: a name that leads outside of the zip's own folder.",
        "Skipped large.png: more than 20 MB.",
        "Skipped b.jpg: damaged, pack it again.",
    )


def test_photos_beyond_the_limits_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_photo_zip(zipped({f"{i}.jpg": b"x" for i in range(204)}))
    assert len(found.photos) == 200
    assert found.dropped == ("Skipped 200.jpg, 201.jpg, 202.jpg and 1 more: the zip holds more than 200 photos.",)
    data = zipped({f"{i}.jpg": bytes(range(256)) * 2048 for i in range(3)}, zipfile.ZIP_STORED)
    assert len(read_photo_zip(data).photos) == 3
    monkeypatch.setattr(photo_zip, "MAX_TOTAL_MB", 1)
    found = read_photo_zip(data)
    assert len(found.photos) == 2
    assert found.dropped == ("Skipped 2.jpg: the photos in the zip have more than 1 MB unpacked.",)


def test_nothing_is_written_to_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    read_photo_zip(zipped({"a.jpg": PHOTO}))
    assert not list(tmp_path.iterdir())
