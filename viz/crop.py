"""The square that a model sees, on the photo that it is of: small on a button, and to be moved and scaled."""

from PIL import Image, ImageDraw

from core.photos.crop import LEAST_SIZE, Crop
from viz.components import revised
from viz.player import data_url

BUTTON = (176, 76)
"""Pixels within which the photo on the button lies; shown at half of that, for sharp screens."""
SHADE = 0.65
"""How dark the rest of the photo is there."""
STEP = 0.02
"""Of the photo's shorter side: how far a key moves the square, or scales it."""
BEFORE = (
    '<style>{button}::before {{ content: ""; flex: none; width: {width}px; height: {height}px; '
    "margin-right: 0.5rem; border-radius: 3px; background: center / cover url({source}); }}</style>"
)


def framed(photo: Image.Image, crop: Crop) -> Image.Image:
    """The photo within `BUTTON`, all but the square in the dark."""
    small = photo.convert("RGB")
    small.thumbnail(BUTTON)
    left, top, right, bottom = box = crop.box(small.size)
    shown = Image.blend(small, Image.new("RGB", small.size), SHADE)
    shown.paste(small.crop(box), box)
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline="white", width=2)
    return shown


def button_style(photo: Image.Image, crop: Crop, button: str) -> str:
    """Style sheet that puts the framed photo before the words of a button; `button` is its CSS selector."""
    small = framed(photo, crop)
    return BEFORE.format(
        button=button, width=small.width // 2, height=small.height // 2, source=data_url(small, "JPEG", quality=80)
    )


def crop_data(photo: Image.Image, size: tuple[int, int], usual: Crop) -> dict:
    """What the component shows: plain values that JSON can hold.

    Args:
        photo: All of it, small.
        size: Its own width and height, upright.
        usual: The square that the model sees by itself.
    """
    return revised(
        {
            "photo": data_url(photo, "JPEG", quality=82),
            "width": size[0],
            "height": size[1],
            "usual": place(usual),
            "least": LEAST_SIZE,
            "step": STEP,
        }
    )


def place(crop: Crop) -> dict:
    """A crop as the component has it, and tells it."""
    return {"x": crop.x, "y": crop.y, "size": crop.size}
