"""Files that are whole at every moment, and whether a file can be written at all."""

import errno
import os
import re
import stat
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from core.errors import InputError


def publish(temporary: Path, path: Path) -> None:
    """Put a finished file in its place at once, readable as any new file is (safetensors makes its own private)."""
    probe = temporary.with_name(temporary.name + ".mode")
    probe.touch()
    os.chmod(temporary, probe.stat().st_mode & 0o777)
    probe.unlink()
    sync(temporary)
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk, so that a power failure leaves it or what it replaced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot say
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, never half of it; to a device or pipe as it is."""
    if is_stream(path):
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
        return
    path = Path(os.path.realpath(path))  # a link stays one
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may be no UTF-8
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def is_stream(path: Path) -> bool:
    """Whether what is written there goes on elsewhere: a device, a pipe, a stream of this process (/dev/stdout)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _own_stream(path)


def is_stdout(path: Path) -> bool:
    """Whether this is what stdout of this process writes to, by name (/dev/stdout) or in fact."""
    try:
        return is_stream(path) and os.path.samestat(path.stat(), os.fstat(1)) and path != Path(os.devnull)
    except OSError:
        return False


def _own_stream(path: Path) -> bool:
    """Whether a name stands for an open file of this process, as /dev/stdout and /dev/fd/1 do on Linux."""
    descriptors = os.path.realpath("/proc/self/fd")
    names = (str(path), os.readlink(path)) if path.is_symlink() else (str(path),)
    return any(os.path.realpath(os.path.dirname(os.path.abspath(name))) == descriptors for name in names)


def check_target(path: Path | None, flag: str) -> None:
    """Refuse a file that could not be written, before the work whose result is to go there.

    Args:
        path: None: nothing was asked for.
        flag: By which it was.

    Raises:
        InputError: If it is a folder, its own folder is not there, or that takes no files.
    """
    if path is None or is_stream(path):
        return
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; {flag} takes the name of a file.")
    try:
        real = Path(os.path.realpath(path))
        with tempfile.TemporaryFile(dir=real.parent):
            real.with_name(real.name + ".tmp").exists()  # too long a name is found here
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file with {flag}.") from error


def disk_reason(error: Exception) -> str | None:
    """Why nothing can be written, in the system's words; None if this is no matter of writing."""
    text = str(error)
    if isinstance(error, SafetensorError):
        found = re.search(r"I/O error: (.*?)(?: \(os error|$)", text)
        return None if found is None else found[1]
    if isinstance(error, OSError):
        others = isinstance(error, ConnectionError) or error.errno in (None, errno.EMFILE, errno.ENFILE)
        return None if others else error.strerror
    torch_writer = re.search(r"PytorchStreamWriter|iostream|inline_container|unexpected pos", text)
    return "the disk may be full" if torch_writer else None
