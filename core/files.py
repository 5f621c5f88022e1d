"""Files that are whole at every moment."""

import os
from pathlib import Path


def publish(temporary: Path, path: Path) -> None:
    """Put a finished file in its place at once, readable as any new file is (safetensors makes its own private)."""
    probe = temporary.with_name(temporary.name + ".mode")
    probe.touch()
    os.chmod(temporary, probe.stat().st_mode & 0o777)
    probe.unlink()
    os.replace(temporary, path)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no UTF-8
    os.replace(temporary, path)
