"""The square of a photo that a model sees: where it lies, what is refused, and that nothing else is seen."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from core.__main__ import main
from core.config import Normalisation
from core.errors import InputError
from core.models.weights import save_checkpoint
from core.photos.crop import Crop, cut, read_crop
from core.photos.image import (
    eval_transform,
    first_of_several,
    model_view,
    open_photo,
    open_whole,
    to_tensor,
    usual_crop,
)
from tests.test_core_images import PHOTO, encoded
from tests.tiny import CARD, backbone

FRAMES = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]


def test_a_crop_is_the_square_at_these_shares_of_the_photo() -> None:
    """60 x 40 pixels: left edge at 0.25 * 60, top edge at 0.1 * 40, side 0.5 * 40."""
    square = open_photo(encoded(PHOTO), Crop(0.25, 0.1, 0.5))
    assert square.tobytes() == PHOTO.crop((15, 4, 35, 24)).tobytes()


def test_the_model_sees_all_of_the_square_whatever_it_cuts_away_by_itself() -> None:
    narrow = replace(CARD, normalisation=Normalisation(crop_pct=0.5))
    square, crop = PHOTO.crop((15, 4, 35, 24)), Crop(0.25, 0.1, 0.5)
    expected = eval_transform(CARD.geometry.img_size, CARD.normalisation)(square)[None]
    torch.testing.assert_close(to_tensor(PHOTO, narrow, crop), expected, atol=0, rtol=0)
    torch.testing.assert_close(to_tensor(open_photo(encoded(PHOTO), crop), narrow), expected, atol=0, rtol=0)
    assert model_view(cut(PHOTO, crop), narrow).tobytes() == square.tobytes()


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (333, 100)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_the_usual_crop_is_what_the_model_sees_without_one(size, crop_pct) -> None:
    card, photo = replace(CARD, normalisation=Normalisation(crop_pct=crop_pct)), PHOTO.resize(size)
    assert cut(photo, usual_crop(size, card)).tobytes() == model_view(photo, card).tobytes()


def test_a_crop_reaches_the_ends_of_a_panorama_and_is_as_sharp_as_its_file() -> None:
    wide = Image.new("RGB", (3000, 300), "grey")
    wide.paste("red", (0, 0, 300, 300))
    square = open_photo(encoded(wide), Crop(0, 0, 1))
    assert square.size == (300, 300)
    assert square.getcolors() == [(300 * 300, (255, 0, 0))]
    assert open_whole(encoded(wide), 600).size == (600, 60)


def test_a_crop_is_of_the_photo_as_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees: what was at the bottom left comes to the top left
    lying = Image.new("RGB", (60, 40), "grey")
    lying.paste("red", (0, 20, 20, 40))
    square = open_photo(encoded(lying, exif=exif), Crop(0, 0, 0.5))
    assert square.getcolors() == [(20 * 20, (255, 0, 0))]


@pytest.mark.parametrize("text", ["0.25,0,0.8", "0.1249,0.04,1", "0.333333333333,0,0.05"])
def test_a_crop_is_written_as_it_was_read(text) -> None:
    assert str(read_crop(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "three numbers such as"),
        ("0.1,0.2", "three numbers such as"),
        ("a,b,c", "not a,b,c"),
        ("nan,0,1", "no square of a photo"),
        ("-0.1,0,0.5", "from 0 to below 1"),
        ("0,0,0", r"from 0\.05 to 1"),
        ("0,0,1.1", "no square of a photo"),
    ],
)
def test_what_is_no_crop_gets_one_sentence(text, sentence) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_crop(text)
    assert "\n" not in str(caught.value)


def test_a_crop_beyond_the_photo_is_refused_with_how_far_it_may_go() -> None:
    """60 x 40 with a side of 40: X up to 20 / 60."""
    with pytest.raises(InputError, match=r"reaches beyond the photo of 60 x 40 pixels; .* X goes up to 0\.3333"):
        cut(PHOTO, Crop(0.5, 0, 1))
    assert Crop(0.3334, 0, 1).box((60, 40)) == (20, 0, 60, 40)  # four digits of a third


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_a_file_of_several_pictures_is_read_by_its_first_and_known_for_it(kind) -> None:
    several = open_photo(encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]))
    assert first_of_several(several)
    red, _, blue = several.getpixel((4, 4))
    assert red > 200 > 60 > blue
    assert not first_of_several(open_photo(encoded(FRAMES[0], kind)))


def test_predict_sees_the_crop_alone_and_says_what_it_leaves_out(tmp_path, capsys) -> None:
    save_checkpoint(tmp_path / "dense.safetensors", backbone(), CARD)
    model = str(tmp_path / "dense.safetensors")
    PHOTO.save(tmp_path / "photo.png")
    PHOTO.crop((15, 4, 35, 24)).save(tmp_path / "square.png")
    FRAMES[0].save(tmp_path / "moving.gif", save_all=True, append_images=FRAMES[1:])

    def predicted(name: str, *flags: str) -> dict:
        assert main(["predict", str(tmp_path / name), "--model", model, "--json", "--device", "cpu", *flags]) == 0
        return json.loads(capsys.readouterr().out)["images"][0]

    through = predicted("photo.png", "--crop", "0.25,0.1,0.5")
    assert through["crop"] == [0.25, 0.1, 0.5]
    assert through["top5"] == predicted("square.png")["top5"] != predicted("photo.png")["top5"]
    both = [str(tmp_path / "photo.png"), str(tmp_path / "square.png")]
    for photos in (both, [str(tmp_path)]):
        assert main(["predict", *photos, "--model", model, "--crop", "0,0,1"]) == 2
        assert "--crop is a square of one photo" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "moving.gif"), "--model", model, "--device", "cpu"]) == 0
    assert "holds several pictures; the first one is read" in capsys.readouterr().err
