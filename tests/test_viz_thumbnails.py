"""Small pictures on pills, as a style sheet."""

import base64
import io
import re

from PIL import Image

from viz.thumbnails import PIXELS, mark_style, thumbnail_style


def test_each_pill_gets_its_own_small_picture_and_no_more_pills_do() -> None:
    style = thumbnail_style([Image.new("RGB", (300, 200), "red"), Image.new("RGB", (200, 300), "blue")], ".pills")
    found = re.findall(r"\.pills button:nth-of-type\((\d)\)::before [^}]*url\(data:image/webp;base64,([^)]*)\)", style)
    assert [number for number, _ in found] == ["1", "2"]
    for (_, data), strongest in zip(found, (0, 2), strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        assert picture.size == (PIXELS, PIXELS)
        assert max(range(3), key=picture.getpixel((40, 40)).__getitem__) == strongest
    assert style.startswith("<style>")
    assert len(style) < 3000


def test_a_word_stands_behind_the_names_of_the_pills_that_are_marked() -> None:
    found = re.findall(
        r'\.pills button:nth-of-type\((\d)\)::after [^}]*content: "(\w+)"', mark_style([2, 6], ".pills", "unknown")
    )
    assert found == [("2", "unknown"), ("6", "unknown")]
    assert mark_style([], ".pills", "unknown") == "<style></style>"
