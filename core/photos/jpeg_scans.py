"""What the scans of a JPEG say beforehand: whether all of the picture is there, and what memory it will take."""

import re
from collections.abc import Iterator

from PIL.JpegImagePlugin import JpegImageFile


def all_scans(jpeg: bytes, components: list[int]) -> bool:
    """Whether every component's 64 coefficients are there to the last bit: a progressive JPEG sends them bit by bit."""
    there = {component: set() for component in components}
    for of, first, last, low_bit in _scans(jpeg):
        if low_bit == 0:
            for component in of:
                there[component] |= set(range(first, last + 1))
    return all(len(found) == 64 for found in there.values())


def buffered_mb(image: JpegImageFile, jpeg: bytes) -> float:
    """MB that libjpeg takes for coefficients: 2 bytes each where a JPEG comes in several scans, else next to none."""
    in_first = next((of for of, *_ in _scans(jpeg)), b"")
    if not image.info.get("progressive") and len(in_first) == len(image.layer):
        return 0.0
    across, down = (max(part[at] for part in image.layer) for at in (1, 2))
    per_pixel = sum(part[1] * part[2] for part in image.layer) / (across * down)
    return 2 * per_pixel * image.width * image.height / 2**20


def _scans(jpeg: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Of each scan: its components, its first and last coefficient, and the lowest bit of them that it brings.

    Source: ITU-T T.81, B.2.3 (the head of a scan) and G.1.1.1 (spectral selection, successive approximation).
    """
    at = 2
    while at < len(jpeg) - 4 and jpeg[at + 1] != 0xDA:  # skip what may hold a small picture of its own
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    for scan in re.finditer(rb"\xff\xda", jpeg[at:]):
        begin = at + scan.end() + 2  # behind the length
        count = jpeg[begin] if begin < len(jpeg) else 0
        rest = jpeg[begin + 1 + 2 * count : begin + 4 + 2 * count] if count <= 4 else b""
        if len(rest) == 3:
            yield jpeg[begin + 1 : begin + 1 + 2 * count : 2], rest[0], rest[1], rest[2] & 15
