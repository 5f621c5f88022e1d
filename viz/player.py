"""The token player's payload, and its parts for the browser: a trace as numbers and sentences small enough to send."""

import base64
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from core.results import TokenTrace
from viz.theme import macs_text, percent, selector_look
from viz.token_tables import left_and_weight
from viz.tokens import package_swatch, stage_sentence, token_sum

_HERE = Path(__file__).parent
HTML = (_HERE / "player.html").read_text(encoding="utf-8")
CSS = (_HERE / "player.css").read_text(encoding="utf-8")
JS = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("dom.js", "player_canvas.js", "player.js"))

PHOTO_SIDE = 720
PHOTO_QUALITY = 82


def player_data(trace: TokenTrace, steps: Mapping[float, TokenTrace] | None = None) -> dict:
    """What the player shows: plain values that JSON can hold.

    Args:
        trace: The one to show.
        steps: By keep ratio, for dragging; all of one photo and model.

    Returns:
        grids (each grid once, in the order of the blocks), on (per stage, 0 is the input, the place of its grid among
        them), blocks (from 0), prefix (tokens that are no patches), first (what they are), looks (colour, hatch and
        swatch of each package), now (see `step_data`), and steps: the same for each keep ratio, named as "0.70", or
        None.
    """
    grids, first = _grids(trace), trace.first.removeprefix("the ")
    return {
        "grids": [list(grid) for grid in grids],
        "on": [grids.index(trace.grid_at(stage)) for stage in range(len(trace.blocks) + 1)],
        "one_package": trace.one_package,
        "blocks": list(trace.blocks),
        "prefix": trace.tokens[0] - trace.grid[0] * trace.grid[1],
        "first": first[:1].upper() + first[1:],
        "looks": [_look(stage) for stage in range(len(trace.blocks))],
        "now": step_data(trace),
        "steps": {f"{ratio:.2f}": step_data(each) for ratio, each in steps.items()} if steps else None,
    }


def step_data(trace: TokenTrace) -> dict:
    """One trace in short.

    Returns:
        left: per grid and patch the selector at which it left, from 1; 0 where it stayed. weight: likewise its
        weight in that selector's package, 4 digits. scores: per selector and patch the keep probability in thousandths,
        None where the patch had left. folded: patches in each package. sentences: one per stage. sums: likewise, what
        its tokens are. summary: what it comes to.
    """
    rows = [row[: trace.patches_at(stage + 1)] for stage, row in enumerate(trace.keep_prob)]
    thousandths = [[None if np.isnan(p) else round(float(p) * 1000) for p in row] for row in rows]
    maps = [_map(trace, grid) for grid in _grids(trace)]
    return {
        "left": [left.tolist() for left, _ in maps],
        "weight": [[round(float(w), 4) for w in weight] for _, weight in maps],
        "scores": thousandths,
        "folded": (trace.package_weight > 0).sum(axis=1).tolist(),
        "sentences": [stage_sentence(trace, stage) for stage in range(len(trace.blocks) + 1)],
        "sums": [token_sum(trace, stage) for stage in range(len(trace.blocks) + 1)],
        "summary": summary_sentence(trace),
    }


def _grids(trace: TokenTrace) -> list[tuple[int, int]]:
    """Each grid once, the input's first."""
    return list(dict.fromkeys(trace.grid_at(stage) for stage in range(len(trace.blocks) + 1)))


def _map(trace: TokenTrace, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where and how heavily the patches of one grid left, both (N,); see `viz.token_tables.left_and_weight`."""
    last = max((s for s in range(1, len(trace.blocks) + 1) if trace.grid_at(s) == grid), default=0)
    if not last:  # no selector sees the input's grid
        return np.zeros(grid[0] * grid[1], int), np.zeros(grid[0] * grid[1])
    return left_and_weight(trace, trace.same_grid(last))


def summary_sentence(trace: TokenTrace) -> str:
    """Cost and answer of one trace, in one sentence."""
    return (
        f"{macs_text(trace.macs.total)}, {percent(trace.macs.total / trace.dense_macs)} of dense; "
        f"{trace.tokens[-1]} of {trace.tokens[0]} tokens at the end; the answer is {trace.prediction.top(1)[0].label}."
    )


@cache
def _look(stage: int) -> dict:
    look = selector_look(stage)
    return {"colour": look.colour, "hatch": look.hatch, "swatch": data_url(package_swatch(stage, 48), "PNG")}


def photo_url(view: Image.Image) -> str:
    """What the model sees, as a small JPEG in a data URL."""
    small = view.convert("RGB")
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
    return data_url(small, "JPEG", quality=PHOTO_QUALITY)


def data_url(image: Image.Image, form: str, **options: object) -> str:
    """A picture as text that an <img> takes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
