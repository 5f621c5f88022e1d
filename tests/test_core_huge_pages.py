"""Huge pages: what lies in memory stays as it is, and nothing happens where the system has none."""

import mmap
import platform
import sys
from pathlib import Path

import pytest

from core.latency import huge_pages
from core.latency.huge_pages import HUGE, collapse, mapped

STRETCHES = 16
MODERN = sys.platform == "linux" and tuple(map(int, platform.release().split(".")[:2])) >= (6, 1)


def huge_bytes() -> int:
    """What of this process lies in huge pages, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("AnonHugePages"))


@pytest.mark.skipif(not MODERN, reason="Linux 6.1 or later")
def test_memory_lies_in_huge_pages_with_the_same_contents() -> None:
    before, used = mapped(), huge_bytes()
    with mmap.mmap(-1, STRETCHES * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        contents = bytes(range(256)) * (len(memory) // 256)
        memory[:] = contents
        new = mapped() - before
        made = collapse(new)
        assert len(new) >= STRETCHES - 1  # it need not begin at a huge page
        assert 0 < made <= len(new)  # the system may have none left
        assert memory[:] == contents
        assert huge_bytes() >= used + made * HUGE


def test_no_stretch_and_a_system_that_does_not_tell_are_nothing_to_do(monkeypatch, tmp_path) -> None:
    assert collapse(()) == 0
    monkeypatch.setattr(huge_pages, "MAPS", tmp_path / "maps")
    assert mapped() == set()


def test_only_writable_memory_of_its_own_counts(monkeypatch, tmp_path) -> None:
    maps = tmp_path / "maps"
    maps.write_bytes(
        b"00100000-00700000 rw-p 00000000 00:00 0 \n"  # 2 MiB to 6 MiB of it are whole
        b"01000000-01200000 r--p 00000000 00:00 0 \n"
        b"02000000-02200000 rw-p 00000000 fe:01 42 /lib/\xff.so\n"
        b"03000000-03200000 rw-p 00000000 00:00 0 [stack]\n"
        b"04000000-04200000 rw-p 00000000 00:00 0 [heap]\n"
    )
    monkeypatch.setattr(huge_pages, "MAPS", maps)
    assert mapped() == {0x200000, 0x400000, 0x4000000}
