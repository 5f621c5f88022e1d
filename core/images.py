"""Bytes to a checked RGB photo, photo to model tensor by timm's transform, and the patch grid back onto the photo."""

import io
import math
import warnings
from functools import lru_cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from timm.data import create_transform
from torch import Tensor

from core.cards import ModelCard
from core.config import Normalisation
from core.errors import InputError

MAX_UPLOAD_MB = 20
MAX_MEGAPIXELS = 24
MAX_SIDE = 1024
"""A photo is scaled down to this many pixels on its long side; no model here looks closer."""
MAX_ASPECT = 16
FORMATS = ("JPEG", "PNG", "WEBP")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
"""How files of these formats begin."""
CUT_OFF = "The file ends early. Try saving it again."


def open_photo(data: bytes) -> Image.Image:
    """A photo that a person gave, as RGB, upright, at most 1024 pixels on its long side.

    Transparency is laid on white; of an animation the first picture is taken; 16-bit greys are scaled.

    Args:
        data: The file's bytes.

    Raises:
        InputError: If the file is empty, too large, no JPEG, PNG or WebP, cut off, or has too many pixels.
    """
    if not data:
        raise InputError("The file is empty. Choose another picture.")
    if len(data) > MAX_UPLOAD_MB * 2**20:
        raise InputError(f"The file has {len(data) / 2**20:.0f} MB; the limit is {MAX_UPLOAD_MB} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"The picture has far too many pixels; the limit is {MAX_MEGAPIXELS} megapixels.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        if data.startswith(SIGNATURES):
            raise InputError(CUT_OFF) from error
        raise InputError("That file is not a JPEG, PNG or WebP picture.") from error
    if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(
            f"The picture is {image.width} x {image.height} pixels; the limit is {MAX_MEGAPIXELS} megapixels."
        )
    try:
        image.load()
        image = _to_rgb(_upright(image))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InputError(CUT_OFF) from error
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The photo as its camera's note says that it stands; as it is where that note is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises nearly anything on damaged notes; the pixels are sound
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that the three formats have, as RGB."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


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


def model_view(image: Image.Image, card: ModelCard) -> Image.Image:
    """What the model sees of the photo, at the photo's own resolution; the patch grid divides it evenly."""
    return image.crop(view_box(image.size, card))


@lru_cache(maxsize=16)
def eval_transform(img_size: int, norm: Normalisation) -> object:
    """timm's evaluation transform: resize the short side, cut the centre, normalise."""
    return create_transform(
        img_size,
        interpolation=norm.interpolation,
        mean=norm.mean,
        std=norm.std,
        crop_pct=norm.crop_pct,
    )


def to_tensor(image: Image.Image, card: ModelCard) -> Tensor:
    """The photo as the model's input, (1, 3, H, W), by timm's evaluation transform."""
    return eval_transform(card.geometry.img_size, card.normalisation)(limit_aspect(image))[None]


def limit_aspect(image: Image.Image) -> Image.Image:
    """The photo, its long side cut to 16 times its short side about the centre.

    A sliver enlarged to the model's size would fill the memory; the centre that the model sees stays the same.
    """
    width, height = image.size
    most = MAX_ASPECT * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))
