"""All stages of a trace as one moving picture, for slides and papers: the photo with its caption below."""

import io
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from core.results import TokenTrace
from viz.tokens import pruned_photo, stage_sentence

STAGE_MS = 1400
LAST_MS = 2800
_INK, _PAPER = (17, 24, 39), (255, 255, 255)


def stage_picture(view: Image.Image, trace: TokenTrace, stage: int, side: int = 640) -> Image.Image:
    """The photo after selector `stage` (0 is the input) with the stage's sentence below, on white.

    The caption's height is that of the longest sentence, so that all stages of a trace have one size.
    """
    photo = pruned_photo(view, trace, stage, side)
    font = ImageFont.load_default(size=max(12, round(photo.width / 30)))
    captions = [_wrapped(stage_sentence(trace, s), font, photo.width - 24) for s in range(len(trace.blocks) + 1)]
    step = round(font.size * 1.3)
    strip = 24 + step * max(len(lines) for lines in captions)
    picture = Image.new("RGB", (photo.width, photo.height + strip), _PAPER)
    picture.paste(photo)
    pen = ImageDraw.Draw(picture)
    for line, text in enumerate(captions[stage]):
        pen.text((12, photo.height + 12 + line * step), text, _INK, font)
    return picture


def _wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def png(view: Image.Image, trace: TokenTrace, stage: int) -> bytes:
    """One stage as a PNG file."""
    buffer = io.BytesIO()
    stage_picture(view, trace, stage).save(buffer, "PNG")
    return buffer.getvalue()


def animation(view: Image.Image, trace: TokenTrace, form: Literal["GIF", "WEBP"]) -> bytes:
    """All stages in a loop without end, the last one twice as long, as a file of this format."""
    last = len(trace.blocks)
    frames = [stage_picture(view, trace, stage) for stage in range(last + 1)]
    durations = [STAGE_MS] * last + [LAST_MS]
    options: dict = {"quality": 85} if form == "WEBP" else {"disposal": 1}
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()
