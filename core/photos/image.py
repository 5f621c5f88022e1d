"""Bytes to a checked RGB photo, photo to model tensor by timm's transform, and the patch grid back onto the photo.

`open_photo` and `load_photo` are the only readers of photos: pages and commands, training too, see the same pixels.
"""

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from timm.data import create_transform
from torch import Tensor

from core.config import Normalisation
from core.errors import InputError
from core.models.cards import ModelCard
from core.photos.crop import Crop, crop_of, cut, is_cut, mark_cut
from core.photos.jpeg_scans import all_scans, buffered_mb

try:
    from pillow_heif import register_heif_opener
except ImportError:  # core runs without it; what phones save then gets a sentence
    HEIF: tuple[str, ...] = ()
else:
    register_heif_opener()
    HEIF = ("HEIF",)

MB = 2**20
MAX_UPLOAD_MB = 20
MAX_FILE_MB = 200
"""Of a file on this machine: more than 50 megapixels take as they are."""
MAX_MEGAPIXELS = 50
"""Decoded at once; with all that is made of them they take less than 1 GB."""
MAX_SCALED_MEGAPIXELS = 120
"""Of a JPEG, which can be decoded at a half, a quarter or an eighth of its size."""
MAX_LAYERED_MEGAPIXELS = 24
"""Of a WebP or an AVIF, whose decoders take several times the memory."""
MAX_SHORT_SIDE = 1024
"""A photo is scaled down to this many pixels on its short side; no model here looks closer."""
MAX_ASPECT = 4
"""Long side to short side; models see the square in the middle, and crops for training reach no further.

A `Crop` is taken from all of the photo, before."""
MAX_BUFFERED_MB = 200
"""Of a JPEG in several scans, whose coefficients are all in memory before there is a pixel."""
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", *HEIF, "GIF", "TIFF", "BMP", "PPM")
"""Pillow's names; none of these readers runs another program, as that of EPS does."""
KINDS = f"JPEG, PNG, WebP, AVIF, {'HEIC, ' if HEIF else ''}GIF, TIFF, BMP or PPM"
UPLOAD_SUFFIXES = ("jpg", "jpeg", "jfif", "png", "webp", "avif", "heic", "heif", "gif", "tif", "tiff", "bmp", "ppm")
"""The commonest of `photo_suffixes`, for what a page takes."""
PNG_NOTES = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Chunks that change no pixel here."""
SEVERAL = "several pictures"
"""In the notes of a photo: its file holds more than one, and this is the first."""
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis")
TOO_LARGE = (
    f"the limit is {MAX_MEGAPIXELS} megapixels, {MAX_SCALED_MEGAPIXELS} of a JPEG and {MAX_LAYERED_MEGAPIXELS} of a "
    "WebP or AVIF"
)
BROKEN = "The file ends early, is damaged or of a rare kind. Save it again as JPEG or PNG."

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # there are limits of our own
warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged notes: of no use to a person, the photo is read


def open_photo(data: bytes, crop: Crop | None = None) -> Image.Image:
    """A photo that a person gave, as RGB, upright, its short side at most 1024 pixels, its long one 4 times that.

    Transparency is laid on white; of an animation the first picture is taken; 16-bit greys are scaled; colour profiles
    are passed over, as in timm and torchvision.

    Args:
        data: The file's bytes.
        crop: Only this square, at the file's own resolution up to 1024 pixels; the model then sees all of it.

    Raises:
        InputError: If the file is empty, too large, of no kind in `FORMATS`, cut off, or has too many pixels; or if the
            crop reaches beyond the photo.
    """
    return _photo(data, MAX_UPLOAD_MB, crop)


def load_photo(path: str | Path, crop: Crop | None = None) -> Image.Image:
    """The photo in a file, as `open_photo` gives it.

    Raises:
        InputError: If it cannot be read, is no photo, or the crop reaches beyond it; the sentence names the file.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_MB * MB + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a photo.") from error
    try:
        return _photo(data, MAX_FILE_MB, crop)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@lru_cache(maxsize=1)
def photo_suffixes() -> frozenset[str]:
    """How names of photos end, in small letters, as Pillow has it: .jpg, .jfif, .tiff and so on."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


def is_photo(path: str | Path) -> bool:
    """Whether a file begins as a photo does, whatever its name.

    TIFF does not count: raw files of cameras begin so, and hold a small picture that is not their photo.
    """
    try:
        with Image.open(path, formats=[kind for kind in FORMATS if kind != "TIFF"]):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow raises nearly anything on files of other kinds
        return False


def open_whole(data: bytes, longest: int) -> Image.Image:
    """All of a photo, however long, upright and at most `longest` pixels on its longer side: for looking at.

    Raises:
        InputError: As `open_photo`.
    """
    photo = _read(data, MAX_UPLOAD_MB, _to_rgb)
    photo.thumbnail((longest, longest))
    return photo


def first_of_several(photo: Image.Image) -> bool:
    """Whether the file of this photo, as the functions here gave it, holds more pictures: an animation, or pages."""
    return SEVERAL in photo.info


def upright_size(file: str | Path | IO[bytes]) -> tuple[int, int]:
    """Width and height of a photo as it stands upright, at its own resolution.

    Raises:
        OSError: If it cannot be read.
    """
    with Image.open(file, formats=FORMATS) as photo:
        turned = photo.getexif().get(0x0112) in (5, 6, 7, 8)
        width, height = photo.size
        return (height, width) if turned else (width, height)


def _photo(data: bytes, most_mb: int, crop: Crop | None) -> Image.Image:
    """See `open_photo`; a file of more than `most_mb` is refused."""
    if crop is None:
        return _read(data, most_mb, lambda image: _to_rgb(limit_aspect(image)))
    return mark_cut(_read(data, most_mb, lambda image: _to_rgb(cut(image, crop))))


def _read(data: bytes, most_mb: int, finish: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The picture in a file of at most `most_mb`, upright and then finished, in words where it is none."""
    if not data:
        raise InputError("The file is empty. Choose another picture.")
    if len(data) > most_mb * MB:
        raise InputError(f"The file has more than {most_mb} MB, which is the limit.")
    try:
        decoded = _upright(_decoded(data))
        photo = finish(decoded)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"The picture has far too many pixels; {TOO_LARGE}.") from error
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise InputError(_why_not(data)) from error
    photo.info |= {key: True for key in (SEVERAL,) if key in decoded.info}
    return photo


def _why_not(data: bytes) -> str:
    """What to say of bytes that Pillow does not read."""
    if not HEIF and data[4:8] == b"ftyp" and data[8:12] in HEIC:
        return "HEIC pictures are not read without the package pillow-heif. Install it, or save the picture as JPEG."
    accepting = (Image.OPEN[kind][1] for kind in FORMATS)
    if any(accept is not None and accept(data[:16]) is True for accept in accepting):
        return BROKEN
    return f"That file is not a picture that can be read: {KINDS}."


def _decoded(data: bytes) -> Image.Image:
    """The pixels, and once more without what is in the way of them."""
    try:
        return _load(data)
    except Exception as error:
        if "MAX_TEXT" in str(error):  # Pillow's limits for the notes in a PNG
            return _load(_without_notes(data))
        if data.startswith(JPEG_START) and "truncated" in str(error):
            return _unended(data)
        raise


def _load(data: bytes) -> Image.Image:
    """All pixels, or those of a large JPEG at a half, a quarter or an eighth of its size.

    Raises:
        InputError: If there are too many.
        Exception: Whatever Pillow raises.
    """
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if isinstance(image, JpegImageFile) and width * height <= MAX_SCALED_MEGAPIXELS * 1_000_000:
        if buffered_mb(image, data) > MAX_BUFFERED_MB:
            raise InputError(
                f"The picture is {width} x {height} pixels, too many for a progressive JPEG. Save it as a plain one."
            )
        image.draft(None, (2 * MAX_SHORT_SIDE, 2 * MAX_SHORT_SIDE))  # never below that
    most = MAX_LAYERED_MEGAPIXELS if image.format in ("WEBP", "AVIF") else MAX_MEGAPIXELS
    if image.width * image.height > most * 1_000_000:
        raise InputError(f"The picture is {width} x {height} pixels; {TOO_LARGE}.")
    if isinstance(image, TiffImageFile) and image.tag_v2.get(258) == (12,):  # BitsPerSample
        image.info["beyond 8 bits"] = 4
    if _holds_several(image):
        image.info[SEVERAL] = True
    image.load()
    return image


def _holds_several(image: Image.Image) -> bool:
    """Whether more pictures follow the first; those that cameras put behind a JPEG or into a HEIC do not count."""
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        return False
    try:
        return getattr(image, "is_animated", False)
    except Exception:  # Pillow raises nearly anything where what follows is damaged; the first is sound
        return False


def _without_notes(png: bytes) -> bytes:
    """The same PNG without its texts and its colour profile."""
    parts, at = [png[:8]], 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big") + 12  # length, name, data, checksum
        if png[at + 4 : at + 8] not in PNG_NOTES:
            parts.append(png[at : at + size])
        at += size
    return b"".join(parts)


def _unended(jpeg: bytes) -> Image.Image:
    """The pixels of a JPEG that lacks its end mark and nothing else.

    libjpeg paints grey what is not there and says nothing, so it is asked twice, the second time with noise in the
    place of the end: a picture that is all there stays as it is.

    Raises:
        OSError: If more is lacking.
    """
    noise = bytes(range(1, 255))
    restarts = b"".join(bytes((0xFF, 0xD0 + i)) + noise for i in range(8))
    whole = jpeg.rstrip(b"\xff")
    plain, noisy = (_load(whole + more + JPEG_END) for more in (b"", noise + restarts))
    assert isinstance(plain, JpegImageFile)
    if plain.tobytes() != noisy.tobytes() or not all_scans(whole, [part[0] for part in plain.layer]):
        raise OSError("image file is truncated")
    return plain


def _upright(image: Image.Image) -> Image.Image:
    """The photo as its camera's note says that it stands; as it is where that note is damaged."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # Pillow raises nearly anything on damaged notes; the pixels are sound
        return image
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, its short side within the limit of `open_photo`.

    Large ones are converted and averaged over k x k pixels in strips, so that no second copy of them is in memory.
    """
    if image.mode == "F":
        raise InputError("The picture has floating-point greys, whose range is not known. Save it with 8 or 16 bits.")
    k = min(image.size) // MAX_SHORT_SIDE
    if k < 2:
        return _shrunk(_on_white(image))
    width, height = image.size
    small = Image.new("RGB", (math.ceil(width / k), math.ceil(height / k)))
    for top in range(0, small.height, 64):
        strip = image.crop((0, k * top, width, min(height, k * (top + 64))))
        small.paste(_on_white(strip).reduce(k), (0, top))
    return _shrunk(small)


def _on_white(image: Image.Image) -> Image.Image:
    """The same as RGB, transparency laid on white."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 bits, or of the 12 that some TIFFs have, as 8 bits; one grey of a PNG may be transparent.

    Raises:
        InputError: If they have more bits.
    """
    values = np.asarray(image)  # (H, W)
    if values.min() < 0 or values.max() > 65535:
        raise InputError("The picture has greys of 32 bits, whose range is not known. Save it with 8 or 16 bits.")
    grey = Image.fromarray((values >> image.info.get("beyond 8 bits", 8)).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _shrunk(image: Image.Image) -> Image.Image:
    """At most `MAX_SHORT_SIDE` on the short side: the long side of a panorama says nothing of how sharp it is."""
    scale = MAX_SHORT_SIDE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else image


def view_box(size: tuple[int, int], card: ModelCard) -> tuple[int, int, int, int]:
    """The square of a photo that the model looks at, as left, top, right, bottom in pixels of the photo.

    timm's transform resizes the short side to floor(img_size / crop_pct) and cuts img_size from the centre.
    """
    width, height = size
    short = min(width, height)
    resized = math.floor(card.geometry.img_size / card.normalisation.crop_pct)
    side = max(1, round(short * card.geometry.img_size / resized))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def usual_crop(size: tuple[int, int], card: ModelCard) -> Crop:
    """Where that square lies in an upright photo of this width and height."""
    return crop_of(size, view_box(size, card))


def model_view(image: Image.Image, card: ModelCard) -> Image.Image:
    """What the model sees of the photo, at the photo's own resolution; the patch grid divides it evenly."""
    return image.copy() if is_cut(image) else image.crop(view_box(image.size, card))


@lru_cache(maxsize=16)
def eval_transform(img_size: int, norm: Normalisation) -> Callable[[Image.Image], Tensor]:
    """timm's evaluation transform: resize the short side, cut the centre, normalise."""
    transform = create_transform(
        img_size,
        interpolation=norm.interpolation,
        mean=norm.mean,
        std=norm.std,
        crop_pct=norm.crop_pct,
    )
    return cast(Callable[[Image.Image], Tensor], transform)


def to_tensor(image: Image.Image, card: ModelCard, crop: Crop | None = None) -> Tensor:
    """The photo as the model's input, (1, 3, H, W), by timm's evaluation transform.

    Args:
        image: The photo. Of one that was read with a crop, or was given to `core.photos.crop.cut`, all is taken.
        card: Of the model.
        crop: The square to take; None: the model's own, in the middle.

    Raises:
        InputError: If the crop reaches beyond the photo.
    """
    if crop is not None:
        image = cut(image, crop)
    norm = replace(card.normalisation, crop_pct=1.0) if is_cut(image) else card.normalisation
    return eval_transform(card.geometry.img_size, norm)(limit_aspect(image))[None]


def limit_aspect(image: Image.Image) -> Image.Image:
    """The photo, its long side cut to `MAX_ASPECT` times its short side about the centre.

    A sliver enlarged to the model's size would fill the memory; the centre that the model sees stays the same.
    """
    width, height = image.size
    most = MAX_ASPECT * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))
