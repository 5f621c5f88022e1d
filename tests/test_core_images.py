"""Photos from people: what is refused, what is read, and where the patch grid lies."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from core.config import Normalisation
from core.costs.deit import DeitGeometry
from core.errors import InputError
from core.models.cards import ModelCard
from core.photos import image as reader
from core.photos.class_folders import photos
from core.photos.image import (
    MAX_FILE_MB,
    MAX_SHORT_SIDE,
    is_photo,
    limit_aspect,
    load_photo,
    model_view,
    open_photo,
    photo_suffixes,
    to_tensor,
    upright_size,
)
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
        (b"hello", "not a picture that can be read: JPEG, PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture that can be read"),
        (encoded(PHOTO, "EPS"), "not a picture that can be read"),  # would start another program
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(200), "ends early, is damaged"),
        (encoded(PHOTO, "JPEG")[:300], "ends early"),
        (encoded(PHOTO)[:-2000], "ends early"),
        (huge_png(8000, 8000), "8000 x 8000 pixels; the limit is 50 megapixels, 120 of a JPEG"),
        (huge_png(13000, 13000), "the limit is 50 megapixels"),
        (huge_png(60000, 60000), "the limit is 50 megapixels"),
        (encoded(Image.new("RGB", (6000, 4200)), "WEBP", method=0), "24 of a WebP or AVIF"),
        (b"\xff\xd8\xff" + b"\0" * (21 * 2**20), "more than 20 MB, which is the limit"),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "floating-point greys"),
        (encoded(Image.new("I", (4, 4), 70000), "TIFF"), "greys of 32 bits"),
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


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "PPM"])
def test_other_kinds_of_photos_are_read_by_their_content(kind, tmp_path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(Image.new("RGB", (40, 30), (200, 40, 90)), kind))
    (tmp_path / "no ending").write_bytes((tmp_path / "photo.jpg").read_bytes())
    colour = np.asarray(load_photo(tmp_path / "photo.jpg")).reshape(-1, 3).mean(axis=0)
    assert np.abs(colour - (200, 40, 90)).max() < 4
    assert is_photo(tmp_path / "no ending") is (kind != "TIFF")  # raw files of cameras begin like a TIFF


def test_what_phones_save_is_read_upright_and_on_white() -> None:
    left = Image.new("RGB", (120, 80), "black")
    left.paste((255, 0, 0), (0, 0, 60, 80))
    turned = left.getexif()
    turned[0x0112] = 6  # to be turned by a quarter clockwise: the left edge goes up
    found = open_photo(encoded(left, "HEIF", exif=turned.tobytes(), quality=95))
    assert found.size == (80, 120)
    assert np.abs(np.subtract(found.getpixel((40, 20)), (255, 0, 0))).max() < 12
    assert np.abs(np.subtract(found.getpixel((40, 100)), (0, 0, 0))).max() < 12
    clear = open_photo(encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "HEIF"))
    assert min(clear.getpixel((32, 32))) > 250


def test_without_its_decoder_a_heic_gets_a_sentence(monkeypatch) -> None:
    data = encoded(PHOTO, "HEIF")
    monkeypatch.setattr(reader, "HEIF", ())
    monkeypatch.setattr(reader, "FORMATS", ("JPEG", "PNG"))
    with pytest.raises(InputError, match="not read without the package pillow-heif"):
        open_photo(data)


def test_suffixes_are_those_that_pillow_knows() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".webp",
        ".avif",
        ".heic",
        ".gif",
        ".tif",
        ".tiff",
        ".bmp",
        ".pgm",
    } <= photo_suffixes()
    assert not {".eps", ".pdf", ".txt"} & photo_suffixes()


@pytest.mark.parametrize(("kind", "numbers"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4")])
def test_greys_of_16_bits_are_scaled_and_not_cut_off(kind, numbers) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257  # 0 to 65535
    read = np.asarray(open_photo(encoded(Image.fromarray(ramp.astype(numbers)), kind)))
    assert (read == np.arange(256).reshape(16, 16, 1)).all()


def test_a_transparent_grey_of_16_bits_is_laid_on_white() -> None:
    values = np.array([[0, 1000], [40000, 65535]], np.uint16)
    read = open_photo(encoded(Image.fromarray(values), transparency=1000))
    assert np.asarray(read)[..., 0].tolist() == [[0, 255], [156, 255]]


def turned(image: Image.Image, orientation: int) -> bytes:
    """A JPEG with a camera's note of how it was held."""
    note = Image.Exif()
    note[0x0112] = orientation
    return encoded(image, "JPEG", exif=note, quality=95)


@pytest.mark.parametrize(
    ("orientation", "corner"), list(enumerate(["tl", "tr", "br", "bl", "tl", "tr", "br", "bl"], start=1))
)
def test_a_corner_goes_where_the_exif_standard_says(orientation, corner, tmp_path) -> None:
    """The stored first row and column are (Exif 2.32, 4.6.4): top left, top right, bottom right and so on."""
    stored = Image.new("RGB", (64, 48), "black")
    stored.paste("white", (0, 0, 16, 16))
    (tmp_path / "turned.jpg").write_bytes(turned(stored, orientation))
    read = load_photo(tmp_path / "turned.jpg")
    assert read.size == upright_size(tmp_path / "turned.jpg") == ((64, 48) if orientation < 5 else (48, 64))
    x, y = (4 if "l" in corner else read.width - 4), (4 if "t" in corner else read.height - 4)
    assert read.getpixel((x, y))[0] > 200
    assert read.getpixel((read.width - x, read.height - y))[0] < 50


def test_every_command_reads_as_the_pages_do(tmp_path) -> None:
    """What training and evaluation get is what an upload of the same bytes gives."""
    files = {
        "grey.png": encoded(Image.fromarray(np.full((9, 7), 40000, np.uint16))),
        "turned.jpg": turned(PHOTO, 6),
        "clear.png": encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0))),
        "print.jpg": encoded(PHOTO.convert("CMYK"), "JPEG"),
    }
    (tmp_path / "a").mkdir()
    for name, data in files.items():
        (tmp_path / "a" / name).write_bytes(data)
    found = {}
    dataset = photos([tmp_path], ["a"], None)
    for at, (path, _) in enumerate(dataset.samples):
        found[path.rsplit("/", 1)[1]] = dataset[at][0]
    assert found.keys() == files.keys()
    for name, data in files.items():
        assert found[name].tobytes() == open_photo(data).tobytes()


@pytest.mark.parametrize(("before", "after"), [(2_000_000, 10), (10, 2_000_000)])
def test_a_whole_png_with_long_notes_is_read(before, after) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("before", "x" * before, zip=True)
    notes.add(b"zTXt", b"after\0\0" + zlib.compress(b"y" * after), after_idat=True)
    data = encoded(PHOTO, pnginfo=notes)
    assert open_photo(data).tobytes() == PHOTO.tobytes()
    with pytest.raises(InputError, match="ends early"):
        open_photo(data[: len(data) // 2])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 2])
def test_a_jpeg_without_its_end_mark_is_read_and_one_that_lacks_more_is_not(progressive, restarts) -> None:
    data = encoded(PHOTO, "JPEG", progressive=progressive, restart_marker_blocks=restarts)
    whole = open_photo(data).tobytes()
    for lacking in (data[:-2], data[:-1], data + bytes(9), data[:-2] + bytes(9)):
        assert open_photo(lacking).tobytes() == whole
    for cut in [*range(20, len(data) - 700, 61)]:
        with pytest.raises(InputError, match="ends early"):
            open_photo(data[:-cut])


def test_a_large_jpeg_is_read_at_a_fraction_of_its_size_and_looks_the_same() -> None:
    board = Image.fromarray(((np.indices((4200, 5600)) // 700).sum(0) % 2 * 255).astype(np.uint8))
    read = open_photo(encoded(board.convert("RGB"), "JPEG", quality=30))
    assert read.size == (1365, 1024)
    grey = np.asarray(read).astype(int)[..., 0]
    centres = grey[85::171, 85::171]  # of the 6 x 8 squares, each 170.6 pixels wide
    # Quality 30 steps the mean of a block by 27 / 8 grey levels: half of that at most is lost, and rounding.
    assert np.abs(centres - np.indices((6, 8)).sum(0) % 2 * 255).max() <= 2
    for line in (grey[85], grey[:, 85]):
        edges = np.flatnonzero(np.diff(line > 127)) + 1
        assert np.abs(edges - np.arange(1, len(edges) + 1) * 700 * 1365 / 5600).max() <= 1
        assert len(edges) == round(len(line) / 170.6) - 1


def test_a_progressive_jpeg_is_read_as_far_as_its_coefficients_fit_into_memory() -> None:
    """6048 x 8064 x 2 bytes are 93 MB in grey, three times as many in colours that are not subsampled."""
    grey = Image.new("L", (8064, 6048), 90)
    assert open_photo(encoded(grey, "JPEG", progressive=True, quality=20)).getpixel((5, 5)) == (
        88,
        88,
        88,
    )  # as coarse as the quality
    with pytest.raises(InputError, match="too many for a progressive JPEG"):
        open_photo(encoded(grey.convert("RGB"), "JPEG", progressive=True, quality=20, subsampling=0))


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16"])
def test_a_large_picture_is_averaged_strip_by_strip_as_at_once(mode) -> None:
    """2100 x 2300 pixels: boxes of 2 x 2, 1050 rows in strips of 64, then Lanczos to 1024."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 255, (230, 210, 4), np.uint8), "RGBA").resize((2100, 2300))
    deep = Image.fromarray(np.asarray(rough.convert("L")).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else rough.convert(mode)
    white = Image.new("RGBA", image.size, "white")
    flat = rough.convert("L") if mode == "I;16" else Image.alpha_composite(white, image.convert("RGBA"))
    expected = flat.convert("RGB").reduce(2).resize((1024, 1122), Image.Resampling.LANCZOS)
    read = open_photo(encoded(image, compress_level=1))
    assert read.size == expected.size
    assert np.abs(np.asarray(read).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("size", [(4000, 500), (500, 4000), (8000, 500)])
def test_a_long_picture_is_as_sharp_to_the_model_as_its_middle_alone(size) -> None:
    board = Image.fromarray((np.indices((500, 500)).sum(0) // 8 % 2 * 255).astype(np.uint8)).convert("RGB")
    long = Image.new("RGB", size, "grey")
    long.paste(board, ((size[0] - 500) // 2, (size[1] - 500) // 2))
    card = ModelCard("deit", DeitGeometry(224, 16, 64, 1, 1, 64, 3), CLASSES, Normalisation())
    alone, middle = (to_tensor(open_photo(encoded(image)), card)[..., 4:-4, 4:-4] for image in (board, long))
    torch.testing.assert_close(alone, middle, atol=0.06, rtol=0)  # the grey beside it reaches into the rim


def test_a_file_that_cannot_be_used_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("text.jpg", "nowhere.jpg"):
        with pytest.raises(InputError, match=name):
            load_photo(tmp_path / name)
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate((MAX_FILE_MB + 1) * 2**20)
    with pytest.raises(InputError, match=r"huge\.png: The file has more than 200 MB"):
        load_photo(tmp_path / "huge.png")


@pytest.mark.parametrize("size", [(1, 1), (30000, 2), (3, 20000), (2000, 1500)])
def test_any_shape_becomes_a_tensor_without_filling_the_memory(size) -> None:
    photo = open_photo(encoded(Image.new("RGB", size, "teal")))
    assert min(photo.size) <= MAX_SHORT_SIDE
    assert max(photo.size) <= 4 * min(photo.size)
    tensor = to_tensor(photo, CARD)
    assert tensor.shape == (1, 3, 32, 32)
    assert tensor.isfinite().all()


def test_cutting_a_sliver_leaves_what_the_model_sees() -> None:
    wide = Image.effect_noise((400, 10), 80).convert("RGB")
    cut = limit_aspect(wide)
    assert cut.size == (40, 10)
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
