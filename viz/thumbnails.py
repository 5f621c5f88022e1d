"""Small pictures on the pills that choose a picture, as a style sheet: the pills keep their names and their focus."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageOps

PIXELS = 80
PILL = (
    '{pill}::before {{ content: ""; flex: none; width: 1.9rem; height: 1.9rem; border-radius: 999px; '
    "margin: 0 0.45rem 0 -0.65rem; background: center / cover url({source}); }}"
)
MARK = '{pill}::after {{ content: "{word}"; margin-left: 0.4rem; font-size: 0.8em; font-style: italic; }}'


def mark_style(numbers: Sequence[int], pills: str, word: str) -> str:
    """Style sheet that writes `word` behind the names of some pills, which a screen reader reads too.

    Args:
        numbers: Of those pills, from 1.
        pills: CSS selector of what holds them.
        word: Without quotes.
    """
    rules = [MARK.format(pill=f"{pills} button:nth-of-type({number})", word=word) for number in numbers]
    return f"<style>{' '.join(rules)}</style>"


def thumbnail_style(images: Sequence[Image.Image], pills: str) -> str:
    """Style sheet that puts the n-th picture on the n-th pill; about 2 KB a picture.

    Args:
        images: In the order of the pills; there may be more pills, which stay plain.
        pills: CSS selector of what holds them.
    """
    rules = []
    for number, image in enumerate(images, start=1):
        data = io.BytesIO()
        ImageOps.fit(image, (PIXELS, PIXELS)).save(data, "WEBP", quality=70)
        source = f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
        rules.append(PILL.format(pill=f"{pills} button:nth-of-type({number})", source=source))
    return f"<style>{' '.join(rules)}</style>"
