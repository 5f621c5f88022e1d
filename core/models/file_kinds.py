"""What a file is, told by its first bytes: names and suffixes of weights files say little."""

import zipfile
from pathlib import Path
from typing import Literal

from core.errors import InputError, printable

Kind = Literal["safetensors", "torch"]
HEAD = 4096
"""Bytes of a file's start that are looked at."""
WANTED = "give a .safetensors file, or weights that torch.save wrote"
STARTS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"),
    (b"\x93NUMPY", f"is a NumPy array, which says no layer's name; {WANTED}"),
    (b"\x89HDF\r\n", f"is an HDF5 file, as Keras writes them; {WANTED}"),
    (b"GGUF", f"is a GGUF file, as llama.cpp reads them; {WANTED}"),
    (b"\x1f\x8b", f"is packed with gzip; unpack it, then {WANTED}"),
    (b"7z\xbc\xaf", f"is packed with 7-Zip; unpack it, then {WANTED}"),
    (b"Rar!", f"is packed with RAR; unpack it, then {WANTED}"),
    (b"BZh", f"is packed with bzip2; unpack it, then {WANTED}"),
    (b"\xfd7zXZ", f"is packed with xz; unpack it, then {WANTED}"),
    (b"\x28\xb5\x2f\xfd", f"is packed with Zstandard; unpack it, then {WANTED}"),
    (b"\xff\xd8\xff", f"is a photo (JPEG); {WANTED}"),
    (b"\x89PNG", f"is a photo (PNG); {WANTED}"),
    (b"%PDF", f"is a PDF document; {WANTED}"),
    (b"\x7fELF", f"is a program; {WANTED}"),
)
"""How other files begin, and the end of the sentence about them."""


def kind_of(path: Path) -> Kind:
    """How the weights in a file are stored.

    Raises:
        InputError: If there is no such file, it cannot be read, or its content is none of the two.
    """
    try:
        if path.is_dir():
            inside = path / "model.safetensors"
            named = f"the weights file in it, such as {shown(inside)}" if inside.is_file() else "a weights file"
            raise InputError(f"{shown(path)} is a folder; name {named}.")
        if not path.is_file():
            raise InputError(f"There is no file {shown(path)}; `python -m core models` lists what can be loaded.")
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(path)} cannot be read ({reason}); name another file.") from error
    if not head.strip(b"\0"):
        what = "holds zeros alone" if head else "is empty"
        raise InputError(f"{shown(path)} {what}: it is damaged, or was never written; copy or save it again.")
    if head.startswith(b"PK"):
        return _zipped(path)
    if head[4:9] == b"\0\0\0\0{":  # the length of a header in 8 bytes, at most 100 MB, then the header
        return "safetensors"
    if head.startswith(b"\x80"):
        return "torch"
    for start, said in STARTS:
        if head.startswith(start):
            raise InputError(f"{shown(path)} {said}.")
    raise InputError(f"{shown(path)} {_other(head)}.")


def shown(path: Path) -> str:
    """A path as a sentence can hold it."""
    return printable(str(path), 300)


def _zipped(path: Path) -> Kind:
    """A zip archive: what torch.save writes, or something else.

    Raises:
        InputError: If it is something else, is cut off, or holds more than its size (torch.save packs nothing).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{shown(path)} is damaged: it ends early or was changed; copy or save it again.") from error
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError(f"{shown(path)} is a TorchScript program, not weights; save the model's state_dict.")
    if any(name.endswith("/archive_format") for name in names):
        raise InputError(
            f"{shown(path)} is a program of torch.export, which holds no model that can be pruned; {WANTED}."
        )
    if any(name.endswith("data.pkl") for name in names):
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise InputError(f"{shown(path)} is packed, as torch.save does not write it; save the weights again.")
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        raise InputError(
            f"{shown(path)} holds NumPy arrays, as JAX's ViTs have them; load it into timm's model "
            "(`model.load_pretrained`), then save that one's state_dict."
        )
    raise InputError(f"{shown(path)} is a zip archive without weights of torch.save; unpack it, or {WANTED}.")


def _other(head: bytes) -> str:
    """The end of the sentence about a file that has no mark of its own."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"{", b"["):
        return f"is JSON text, such as a model's settings, and holds no weights; {WANTED}"
    if text[:1] == b"<":
        return f"is a web page or XML, perhaps in place of a download that failed; {WANTED}"
    if head[:1] == b"\x08" and any(mark in head for mark in (b"onnx", b"pytorch", b"\x12\x07", b"ai.")):
        return f"is an ONNX graph, which holds no model that can be pruned; {WANTED}"
    if head[257:262] == b"ustar":
        return f"is a tar archive; unpack it, then {WANTED}"
    try:
        head[: HEAD - 4].decode()
    except UnicodeDecodeError:
        return f"is no checkpoint that is known here, or it is damaged; {WANTED}"
    return f"is text and no checkpoint; {WANTED}"
