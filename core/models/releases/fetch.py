"""Downloading released checkpoints into torch's hub cache, with progress, whole or not at all."""

import json
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import torch
from huggingface_hub import constants
from huggingface_hub.utils import get_session

from core.errors import InputError
from core.files import publish
from core.single_path.published import FILE

TIMEOUT_S = 15
"""Without an answer for this long, the network counts as missing."""
CHUNK = 1 << 18


def cached_file(file: str) -> Path:
    """Where a released file lies once it was downloaded: where torch.hub would put it."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file


def download(file: str, on_bytes: Callable[[int, int | None], None] | None = None) -> Path:
    """Fetch one released file into the cache.

    Args:
        file: Its name in the release.
        on_bytes: Called with the bytes done, and in all where the server tells; what it raises stops the download.

    Raises:
        InputError: If there is no network, the server refuses, the file breaks off or is no checkpoint, or the disk
            is full.
    """
    url = json.loads(FILE.read_text(encoding="utf-8"))["release_url_prefix"] + file
    target = cached_file(file)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            length = answer.headers.get("Content-Length")
            total, done = int(length) if length else None, 0
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f"{file}.", delete=False) as part:
                temporary = Path(part.name)
                while chunk := answer.read(CHUNK):
                    part.write(chunk)
                    done += len(chunk)
                    if on_bytes is not None:
                        on_bytes(done, total)
        if total is not None and done != total:
            raise InputError(f"The download of {file} broke off after {done / 1e6:.1f} MB; try again.")
        if not zipfile.is_zipfile(temporary) and temporary.read_bytes()[:1] != b"\x80":  # new and old torch.save
            raise InputError(f"What came from {url} is no checkpoint; check the network, or give the file's path.")
        publish(temporary, target)
    except InputError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(
            f"{file} could not be downloaded from {url} ({error}); check the network, or download it by other means "
            f"and give its path."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target


def check_hub() -> None:
    """Find out at once whether the hub answers: where it does not, timm's loading would try for most of a minute.

    Raises:
        InputError: If it does not.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_S)
    except Exception as error:  # whatever the hub's client raises without a network
        raise InputError(
            f"{constants.ENDPOINT} cannot be reached from this machine ({error}); connect it to the network and try "
            "again, or choose a bundled model or a weights file."
        ) from error
