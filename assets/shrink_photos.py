"""Photos of a folder as sharp as those of another data set, so that sharpness does not tell their classes apart.

    python -m assets.shrink_photos SHARP LIKE.JPEG OUT

Photos under SHARP come to 64 pixels on their short side, saved under OUT with the quantisation tables and the chroma
subsampling of LIKE.JPEG, a photo of the other set.
"""

import sys
from pathlib import Path

from PIL import Image, JpegImagePlugin

SIDE = 64


def main(sharp: Path, like: Path, out: Path) -> None:
    """Write a small copy of each photo."""
    with Image.open(like) as other:
        tables, sampling = other.quantization, JpegImagePlugin.get_sampling(other)
    for path in sorted(path for path in sharp.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg")):
        with Image.open(path) as photo:
            scale = SIDE / min(photo.size)
            size = (round(photo.width * scale), round(photo.height * scale))
            small = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        target = out / path.relative_to(sharp)
        target.parent.mkdir(parents=True, exist_ok=True)
        small.save(target, "JPEG", qtables=tables, subsampling=sampling)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
