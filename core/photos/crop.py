"""The square of a photo that a model is shown in place of its usual one: how it is written, and where it lies."""

from dataclasses import astuple, dataclass

from PIL import Image

from core.errors import InputError, printable

LEAST_SIZE = 0.05
BEYOND = 0.005
"""Of its own side, a square may reach beyond the photo: numbers are written with a few digits. It is moved back."""
_CUT = "cut to a crop"
"""In the notes of a photo: it is the square that the model is to see."""


@dataclass(frozen=True)
class Crop:
    """A square of an upright photo, which the model sees as a whole, whatever it would cut away by itself."""

    x: float
    """Its left edge, as a share of the photo's width, in [0, 1)."""
    y: float
    """Its top edge, as a share of the photo's height, in [0, 1)."""
    size: float
    """Its side, as a share of the photo's shorter side, in [`LEAST_SIZE`, 1]."""

    def __post_init__(self) -> None:
        """Raises: InputError: If a number is out of its range."""
        if not (0 <= self.x < 1 and 0 <= self.y < 1 and LEAST_SIZE <= self.size <= 1):
            raise InputError(
                f"The crop {self} is no square of a photo; X and Y take shares of its width and height from 0 to below "
                f"1, SIZE a share of its shorter side from {LEAST_SIZE} to 1."
            )

    def __str__(self) -> str:
        """X,Y,SIZE, which `read_crop` gives back to the last digit."""
        return ",".join(f"{number:g}" if number == float(f"{number:g}") else repr(number) for number in astuple(self))

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels of an upright photo of this width and height.

        Raises:
            InputError: If the square reaches beyond the photo.
        """
        side = max(1, round(self.size * min(size)))
        starts = []
        for name, share, length in (("X", self.x, size[0]), ("Y", self.y, size[1])):
            most = length - side
            if share * length > most + BEYOND * side + 1:
                raise InputError(
                    f"The crop {self} reaches beyond the photo of {size[0]} x {size[1]} pixels; with this SIZE, {name} "
                    f"goes up to {most / length:.4g}."
                )
            starts.append(min(most, round(share * length)))
        left, top = starts
        return left, top, left + side, top + side


def read_crop(text: str) -> Crop:
    """The crop that X,Y,SIZE says.

    Raises:
        InputError: If these are no three numbers, or out of range.
    """
    try:
        x, y, size = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"A crop is X,Y,SIZE, three numbers such as 0.25,0,0.8; not {printable(text)}.") from error
    return Crop(x, y, size)


def crop_of(size: tuple[int, int], box: tuple[int, int, int, int]) -> Crop:
    """The crop that says where a square of pixels lies in a photo of this width and height."""
    left, top, right, _ = box
    return Crop(left / size[0], top / size[1], max(LEAST_SIZE, (right - left) / min(size)))


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """The square alone, marked as what the model is to see as a whole.

    Raises:
        InputError: If it reaches beyond the photo.
    """
    return mark_cut(image.crop(crop.box(image.size)))


def mark_cut(image: Image.Image) -> Image.Image:
    """The same picture, marked so."""
    image.info[_CUT] = True
    return image


def is_cut(image: Image.Image) -> bool:
    """Whether the picture came from `cut`."""
    return _CUT in image.info
