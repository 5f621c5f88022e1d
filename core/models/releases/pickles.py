"""Checkpoints that torch.save wrote, read without running code."""

import pickle
import struct
import threading
import warnings
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import torch

from core.errors import InputError, printable
from core.models.file_kinds import shown

SCALARS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
           "u8": "Q", "b1": "?"}  # fmt: skip
"""NumPy's kinds of plain numbers, and how `struct` reads them."""


class Inert:
    """In place of an object of NumPy's: takes whatever a file says of it, and does nothing with it."""

    def __init__(self, *said: object) -> None:
        """Keep the first thing that was said: of a dtype its name."""
        self.said = said[0] if said else None

    def __setstate__(self, state: object) -> None:
        """Nothing: a hostile state can break NumPy's own objects."""


def numpy_number(kind: object, data: object = None) -> float | int | bool | None:
    """A number that NumPy stored, as a plain one; None where it is no plain number."""
    said = getattr(kind, "said", None)
    form = SCALARS.get(said) if isinstance(said, str) else None
    if form is None or not isinstance(data, bytes) or len(data) != struct.calcsize(form):
        return None
    return struct.unpack(f"<{form}", data)[0]


def plain_dict(*_: object) -> dict:
    """An empty dictionary, whatever else it was to be made with."""
    return {}


def _dtypes() -> list:
    """The classes that NumPy names its dtypes by."""
    names = ("Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt64", "Bool", "Str")
    return [(Inert, f"numpy.dtypes.{name}DType") for name in names]


PLAIN = [
    (SimpleNamespace, "argparse.Namespace"),
    (SimpleNamespace, "types.SimpleNamespace"),
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "timm.utils.misc.AttrDict"),
    (OrderedDict, "easydict.EasyDict"),
    (OrderedDict, "addict.addict.Dict"),
    (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (OrderedDict, "lightning_fabric.utilities.data.AttributeDict"),
    (OrderedDict, "lightning.fabric.utilities.data.AttributeDict"),
    (plain_dict, "collections.defaultdict"),
    *((Inert, f"builtins.{name}") for name in ("dict", "list", "tuple", "int", "float", "bool", "str")),
    *((PurePosixPath, f"pathlib.{name}") for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")),
    *((PurePosixPath, f"pathlib._local.{name}") for name in ("Path", "PosixPath", "PurePath", "PurePosixPath")),
    *((PureWindowsPath, f"pathlib.{name}") for name in ("WindowsPath", "PureWindowsPath")),
    *((PureWindowsPath, f"pathlib._local.{name}") for name in ("WindowsPath", "PureWindowsPath")),
    date,
    datetime,
    time,
    timedelta,
    *((numpy_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((Inert, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    (Inert, "numpy.dtype"),
    (Inert, "numpy.ndarray"),
    *_dtypes(),
]
"""What training scripts store beside the weights, and as what it is read: plain values, none of which runs code."""
_opening = threading.Lock()  # torch keeps the list of what is plain for the whole process


def read_pickle(path: Path) -> object:
    """What torch.save wrote, settings as plain values.

    Raises:
        InputError: If the file is damaged, or would run code when opened.
    """
    try:
        with (
            open(path, "rb") as file,  # torch opens names that are UTF-8 alone
            _opening,
            torch.serialization.safe_globals(PLAIN),
            warnings.catch_warnings(action="ignore"),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(_refusal(path, str(error))) from error
    except Exception as error:  # on damaged files torch.load raises nearly anything
        if "Invalid magic number" in str(error):
            raise InputError(
                f"{shown(path)} is a pickle, but none that torch.save wrote; save the model's state_dict with that."
            ) from error
        if "legacy .tar format" in str(error):
            raise InputError(f"{shown(path)} is a tar archive; unpack it, and give the weights in it.") from error
        raise InputError(f"{shown(path)} is damaged or no checkpoint; copy or save it again.") from error


def _refusal(path: Path, why: str) -> str:
    """The sentence about a pickle that cannot be opened safely."""
    _, asked, rest = why.partition("GLOBAL ")
    if not asked and "Unsupported operand" in why:
        return (
            f"{shown(path)} is a pickle of a kind that torch.save does not write and could run code, so it was not "
            "opened; save the model's state_dict with torch.save."
        )
    what = f" ({printable(rest.split()[0], 60)})" if asked and rest.split() else ""
    return (
        f"{shown(path)} holds more than weights{what} and could run code, so it was not opened; "
        "save the model's state_dict alone, or ask for safetensors."
    )
