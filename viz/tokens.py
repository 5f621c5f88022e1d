"""Token pruning in pictures and sentences: which patches are left, which package took the others."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from core.results import TokenTrace
from viz.theme import DENSE, TIMES, Look, percent, rgb, selector_look

DARK_NOW, TINT_NOW = 0.45, 0.35
DARK_EARLIER = 0.6
DARK_ASIDE = 0.78
"""Of what is not in the package that is looked at."""


def pruned_photo(view: Image.Image, trace: TokenTrace, stage: int, side: int = 640) -> Image.Image:
    """The photo after selector `stage` of `trace`; stage 0 is the input, untouched.

    Kept patches are the photo itself. Patches that left at this selector are darkened, tinted and hatched in its
    colour; those that left earlier are darker, with a thin hatch in their own selector's colour. Behind a pooling the
    cells of the smaller grid are drawn on the photo, and only what left on that grid is gone.

    Args:
        view: What the model sees, square.
        trace: Of that picture.
        stage: 0 to S.
        side: Pixels of the result's longer side, rounded down to whole patches.
    """
    here = np.isin(np.arange(stage), trace.same_grid(stage))  # (stage,)
    dropped = trace.dropped[:stage, : trace.patches_at(stage)] & here[:, None]
    return faded_photo(view, dropped, trace.grid_at(stage), side)


def faded_photo(view: Image.Image, dropped: np.ndarray, grid: tuple[int, int], side: int = 640) -> Image.Image:
    """The same for patches that leave one after the other, whatever makes them leave.

    Args:
        view: What the model sees, square.
        dropped: bool (S, N): the patch left at exactly this stage; the last one is happening now.
        grid: Patch rows and columns.
        side: Pixels of the result's longer side, rounded down to whole patches.
    """
    rows, cols = grid
    cell = side // max(rows, cols)
    photo = np.asarray(view.convert("RGB").resize((cols * cell, rows * cell), Image.Resampling.LANCZOS), np.float32)
    cells = _cells(photo, grid, cell)
    for index, left in enumerate(dropped):
        now, where = index == len(dropped) - 1, left.reshape(grid)  # (rows, cols)
        hatch = _hatch(selector_look(index).hatch, cell, now=now)[..., None]
        cells[where] = _packaged(cells[where], selector_look(index), hatch, now=now)
    return Image.fromarray(photo.round().astype(np.uint8))


def _packaged(photo: np.ndarray, look: Look, hatch: np.ndarray, *, now: bool) -> np.ndarray:
    """`photo` (..., H, W, 3) as if packaged: darkened, tinted where it happens now, hatched where `hatch` is 1."""
    colour = np.array(rgb(look.colour), np.float32)
    base = photo * (1 - DARK_NOW) * (1 - TINT_NOW) + colour * TINT_NOW * 0.75 if now else photo * (1 - DARK_EARLIER)
    ink = colour if now else colour * 0.85
    return base * (1 - hatch) + ink * hatch


@cache
def _hatch(shape: str, cell: int, *, now: bool) -> np.ndarray:
    """One cell of a hatch, float (cell, cell) in [0, 1], made so that neighbouring cells join; thin unless `now`."""
    scale, lines = 4, 3 if now else 2
    big = cell * scale
    mask = Image.new("L", (big, big))
    draw = ImageDraw.Draw(mask)
    width = round(big * (0.055 if now else 0.03))
    for start in range(-lines, 2 * lines + 1):
        x = start * big / lines
        if shape in "\\x":
            draw.line((x - big, -big, x + 2 * big, 2 * big), fill=255, width=width)
        if shape in "/x":
            draw.line((x - big, 2 * big, x + 2 * big, -big), fill=255, width=width)
        middle = x + big / lines / 2
        if shape in "-+":
            draw.line((-big, middle, 2 * big, middle), fill=255, width=width)
        if shape in "|+":
            draw.line((middle, -big, middle, 2 * big), fill=255, width=width)
    return np.asarray(mask.resize((cell, cell), Image.Resampling.BOX), np.float32) / 255


def _cells(photo: np.ndarray, grid: tuple[int, int], cell: int) -> np.ndarray:
    """The pixels of each patch, (rows, cols, cell, cell, 3), in the memory of `photo` (rows * cell, cols * cell, 3)."""
    rows, cols = grid
    return photo.reshape(rows, cell, cols, cell, 3).swapaxes(1, 2)


def package_swatch(stage: int, size: int = 56) -> Image.Image:
    """A small square in the colour and hatch of package `stage`, from 0, as on the photo."""
    look = selector_look(stage)
    grey = np.full((size, size, 3), 90, np.float32)
    swatch = _packaged(grey, look, _hatch(look.hatch, size, now=True)[..., None], now=True)
    image = Image.fromarray(swatch.round().astype(np.uint8))
    ImageDraw.Draw(image).rectangle((0, 0, size - 1, size - 1), outline=rgb(look.colour), width=max(2, size // 14))
    return image


def class_badge(size: int = 56) -> Image.Image:
    """The class token: a round badge with a clear background; it is no patch, so it stands outside the grid."""
    scale = 4
    image = Image.new("RGBA", (size * scale, size * scale))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0, 0, size * scale - 1, size * scale - 1), fill=(*rgb(DENSE), 255))
    inner = size * scale // 4
    draw.ellipse((inner, inner, size * scale - 1 - inner, size * scale - 1 - inner), fill=(255, 255, 255, 255))
    return image.resize((size, size), Image.Resampling.LANCZOS)


def package_photo(view: Image.Image, trace: TokenTrace, package: int, side: int = 640) -> Image.Image:
    """What package `package` (1 to S) is made of: its members as bright as they weigh in it, all else dark.

    Args:
        view: What the model sees, square.
        trace: Of that picture.
        package: From 1.
        side: Pixels of the result's longer side, rounded down to whole patches.
    """
    rows, cols = grid = trace.grid_at(package)
    cell = side // max(rows, cols)
    photo = np.asarray(view.convert("RGB").resize((cols * cell, rows * cell), Image.Resampling.LANCZOS), np.float32)
    weight = trace.package_weight[package - 1, : rows * cols].reshape(grid)  # (rows, cols)
    share = weight / max(weight.max(), 1e-12)  # 1 for the heaviest
    light = np.where(weight > 0, 0.25 + 0.75 * share, 1 - DARK_ASIDE).astype(np.float32)
    cells = _cells(photo, grid, cell)
    cells *= light[..., None, None, None]
    look = selector_look(package - 1)
    hatch = _hatch(look.hatch, cell, now=False)[..., None]
    cells[weight > 0] = cells[weight > 0] * (1 - hatch) + np.array(rgb(look.colour), np.float32) * hatch
    return Image.fromarray(photo.round().astype(np.uint8))


def stage_sentence(trace: TokenTrace, stage: int) -> str:
    """What happened at selector `stage` (1 to S), in words; stage 0 is the input. Blocks count from 1, as on screen."""
    patches = trace.patches_at(stage)
    if stage == 0:
        return f"Input: all {patches} patches{f' and {trace.first}' if trace.first else ''} enter block 1."
    folded = int((trace.package_weight[stage - 1] > 0).sum())
    left = int(trace.dropped[stage - 1].sum())
    kept = trace.kept_counts[stage - 1]
    package = "the package" if trace.one_package else f"package {stage}"
    end = f"{folded} folded into {package}" if folded else "none dropped, so there is no package"
    if left != folded and left:
        end = f"{left} dropped, {folded} of them folded into {package}"
    elif trace.one_package and not left:
        end = "none dropped"
    if trace.grids:
        end = f"on a grid of {trace.grid_at(stage)[0]} {TIMES} {trace.grid_at(stage)[1]}, {end}"
    return f"Selector {stage} before block {trace.blocks[stage - 1] + 1}: {kept} of {patches} patches kept, {end}."


def token_sum(trace: TokenTrace, stage: int) -> str:
    """What the tokens of the first block behind selector `stage` (1 to S) are; stage 0: of the input."""
    total = trace.tokens[trace.blocks[stage - 1] if stage else 0]
    patches = trace.kept_counts[stage - 1] if stage else trace.patches_at(0)
    before = trace.tokens[0] - trace.patches_at(0)
    first = trace.first.removeprefix("the ")
    packages = total - before - patches
    parts = [first if any(sign.isdigit() for sign in first) else f"{before} {first}"] if before else []
    parts.append(f"{patches} {'kept ' * (stage > 0)}patch{'es' * (patches != 1)}")
    parts += [f"{packages} package{'s' * (packages != 1)}"] if packages else []
    return f"{' + '.join(parts)} = {total} token{'s' * (total != 1)}" if len(parts) > 1 else f"{parts[0]}, a token each"


def package_sentence(trace: TokenTrace, package: int) -> str:
    """What package `package` (1 to S) holds, in words."""
    weight = trace.package_weight[package - 1]
    inside = int((weight > 0).sum())
    if trace.one_package:
        older = 1 - weight.sum()
        rest = f", beside {percent(older)} that was there before" if older > 1e-6 and inside else ""
        return f"Folded into the package at selector {package}: {inside} patch{'es' * (inside != 1)}{rest}."
    if not inside:
        return f"Package {package}: nothing was dropped at selector {package}, so there is none."
    row, column = divmod(int(weight.argmax()), trace.grid_at(package)[1])
    if inside == 1:
        return f"Package {package}: one patch alone, row {row + 1}, column {column + 1}."
    return (
        f"Package {package}: {inside} patches; the heaviest, row {row + 1}, column {column + 1}, has "
        f"{weight.max() * 100:.1f} % of the weight, the lightest {weight[weight > 0].min() * 100:.1f} %."
    )
