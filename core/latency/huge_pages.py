"""Memory in pages of 2 MiB, where Linux (6.1 or later) gives them: for weights that are read anew for every photo.

Of one photo's time in onnxruntime a DeiT-S loses a twentieth to looking up pages of 4 KiB.
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path

HUGE = 2 << 20
"""Bytes of a huge page."""
MADV_COLLAPSE = 25
"""Linux: make one huge page of what lies there, contents and all."""
MAPS = Path("/proc/self/maps")


def mapped() -> set[int]:
    """Addresses of all whole stretches of `HUGE` bytes of this process's own memory; none where Linux does not tell."""
    found: set[int] = set()
    try:
        lines = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        span, rights, _, _, inode, *name = line.split()
        if rights.startswith("rw") and inode == "0" and (not name or name == ["[heap]"]):
            start, end = (int(edge, 16) for edge in span.split("-"))
            found.update(range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE))
    return found


def collapse(stretches: Iterable[int]) -> int:
    """Make a huge page of each of these stretches, where the system can; their contents stay.

    Args:
        stretches: Some of `mapped`.

    Returns:
        How many are one now.
    """
    stretches = sorted(stretches)
    if not stretches:
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(advise(start, HUGE, MADV_COLLAPSE) == 0 for start in stretches)
