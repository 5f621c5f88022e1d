"""Huge pages: what lies in memory stays as it is, and nothing happens where the system has none."""

import sys
from pathlib import Path

import numpy as np
import pytest

from core import huge_pages
from core.huge_pages import HUGE, collapse, mapped


def huge_bytes() -> int:
    """What of this process lies in huge pages, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("AnonHugePages"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_an_array_lies_in_huge_pages_with_the_same_contents() -> None:
    before, used = mapped(), huge_bytes()
    array = np.arange(16 * HUGE // 8)
    new = mapped() - before
    assert len(new) >= 15  # it need not begin at a huge page
    made = collapse(new)
    assert (array == np.arange(array.size)).all()
    assert huge_bytes() >= used + made * HUGE
    assert collapse(new) == made  # again is no harm


def test_no_stretch_and_no_linux_are_nothing_to_do(monkeypatch, tmp_path) -> None:
    assert collapse(()) == 0
    monkeypatch.setattr(huge_pages, "MAPS", tmp_path / "maps")
    assert mapped() == set()


def test_only_writable_memory_of_its_own_counts(monkeypatch, tmp_path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "00100000-00700000 rw-p 00000000 00:00 0 \n"  # 2 MiB to 6 MiB of it are whole
        "01000000-01200000 r--p 00000000 00:00 0 \n"
        "02000000-02200000 rw-p 00000000 fe:01 42 /lib/x.so\n"
        "03000000-03200000 rw-p 00000000 00:00 0 [stack]\n"
        "04000000-04200000 rw-p 00000000 00:00 0 [heap]\n"
    )
    monkeypatch.setattr(huge_pages, "MAPS", maps)
    assert mapped() == {0x200000, 0x400000, 0x4000000}
