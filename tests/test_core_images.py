"""Photos from people: what is refused, what is read, and where the patch grid lies."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from core.cards import ModelCard
from core.config import Normalisation
from core.deit_counts import DeitGeometry
from core.errors import InputError
from core.images import MAX_SIDE, limit_aspect, model_view, open_photo, to_tensor
from tests.tiny import CARD, CLASSES


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few dozen bytes that claims a huge size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PHOTO = Image.effect_noise((60, 40), 80).convert("RGB")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"hello", "not a JPEG, PNG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG or WebP"),
        (encoded(PHOTO, "GIF"), "not a JPEG, PNG or WebP"),
        (encoded(PHOTO, "JPEG")[:300], "ends early"),
        (encoded(PHOTO)[:-2000], "ends early"),
        (huge_png(5000, 5000), "5000 x 5000 pixels; the limit is 24 megapixels"),
        (huge_png(13000, 13000), "the limit is 24 megapixels"),
        (huge_png(60000, 60000), "the limit is 24 megapixels"),
        (b"\xff\xd8\xff" + b"\0" * (21 * 2**20), "21 MB; the limit is 20 MB"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(data, sentence) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_photo(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1", "I;16"])
def test_every_mode_of_a_png_becomes_rgb(mode) -> None:
    image = (
        Image.fromarray(np.full((9, 7), 40000, np.uint16)) if mode == "I;16" else PHOTO.convert("RGBA").convert(mode)
    )
    read = open_photo(encoded(image))
    assert read.mode == "RGB"
    if mode == "I;16":
        assert read.getpixel((0, 0)) == (156, 156, 156)  # 40000 / 256


def test_cmyk_jpeg_becomes_rgb() -> None:
    assert open_photo(encoded(PHOTO.convert("CMYK"), "JPEG")).mode == "RGB"


def test_transparency_is_laid_on_white() -> None:
    assert open_photo(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))).getpixel((1, 1)) == (255, 255, 255)


def test_a_photo_that_the_camera_turned_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert open_photo(encoded(PHOTO, "JPEG", exif=exif)).size == (40, 60)


def test_the_first_picture_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert open_photo(data).getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (30000, 2), (3, 20000), (2000, 1500)])
def test_any_shape_becomes_a_tensor_without_filling_the_memory(size) -> None:
    photo = open_photo(encoded(Image.new("RGB", size, "teal")))
    assert max(photo.size) <= MAX_SIDE
    tensor = to_tensor(photo, CARD)
    assert tensor.shape == (1, 3, 32, 32)
    assert tensor.isfinite().all()


def test_cutting_a_sliver_leaves_what_the_model_sees() -> None:
    wide = Image.effect_noise((400, 10), 80).convert("RGB")
    cut = limit_aspect(wide)
    assert cut.size == (160, 10)
    assert model_view(cut, CARD).tobytes() == model_view(wide, CARD).tobytes()


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("size", [(256, 256), (400, 256), (256, 500)])
def test_the_view_is_the_part_of_the_photo_that_the_tensor_shows(crop_pct, size) -> None:
    card = ModelCard("deit", DeitGeometry(224, 16, 64, 1, 1, 64, 3), CLASSES, Normalisation(crop_pct=crop_pct))
    gradient = np.linspace(0, 255, size[0])[None, :, None] * np.ones((size[1], 1, 3))
    photo = Image.fromarray(gradient.astype(np.uint8))
    view = np.asarray(model_view(photo, card).resize((224, 224))).astype(float)[..., 0] / 255
    tensor = to_tensor(photo, card)[0, 0] * card.normalisation.std[0] + card.normalisation.mean[0]
    assert abs(view - tensor.numpy()).max() < 0.02


def test_the_tensor_is_normalised_as_the_card_says() -> None:
    grey = to_tensor(Image.new("RGB", (64, 64), (128, 128, 128)), CARD)
    expected = (128 / 255 - torch.tensor(CARD.normalisation.mean)) / torch.tensor(CARD.normalisation.std)
    torch.testing.assert_close(grey.mean(dim=(0, 2, 3)), expected, atol=1e-3, rtol=0)
