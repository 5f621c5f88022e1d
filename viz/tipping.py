"""Where a photo's answer flips: its probability at each keep ratio, the patch that tipped it, and both in words."""

from collections.abc import Mapping

import plotly.graph_objects as go
from PIL import Image, ImageDraw

from core.inference.tipping import Flip, Tipped
from core.results import TokenTrace
from viz.theme import DENSE, MARK, PRUNED, drawn, percent, rgb
from viz.tokens import pruned_photo


def flip_chart(traces: Mapping[float, TokenTrace], found: Flip | None) -> go.Figure:
    """Probability of the answer of the largest keep ratio, and the highest of all others, over the keep ratio.

    Args:
        traces: As `core.inference.tipping.flip` takes them.
        found: What it gave; the first ratio with another answer is marked.
    """
    ratios = sorted(traces)
    said = [traces[ratio].prediction for ratio in ratios]
    first = said[-1].top(1)[0]
    others = [next(guess for guess in each.top(2) if guess.index != first.index) for each in said]
    shares = [100 * ratio for ratio in ratios]
    lines = [
        _line(shares, [float(each.probs[first.index]) for each in said], [first.label] * len(said), first.label, False),
        _line(shares, [guess.prob for guess in others], [guess.label for guess in others], "The best other", True),
    ]
    layout: dict = {
        "xaxis": {"title": {"text": "Keep ratio of each selector, %"}, "autorange": "reversed", "fixedrange": True},
        "yaxis": {"title": {"text": "Probability"}, "tickformat": ".0%", "rangemode": "tozero", "fixedrange": True},
    }
    if found is not None:
        at = 100 * found.wrong
        layout["shapes"] = [
            {
                "type": "line",
                "yref": "y domain",
                "y0": 0,
                "y1": 1,
                "x0": at,
                "x1": at,
                "line": {"color": MARK, "dash": "dot"},
            }
        ]
        layout["annotations"] = [
            {
                "text": "flips",
                "x": at,
                "y": 1,
                "yref": "y domain",
                "xanchor": "left",
                "yanchor": "top",
                "showarrow": False,
            }
        ]
    return drawn(lines, 300, hovermode="x unified", **layout)


def _line(x: list[float], y: list[float], labels: list[str], name: str, dashed: bool) -> dict:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": y,
        "name": name,
        "customdata": labels,
        "line": {"color": DENSE, "dash": "dash"} if dashed else {"color": PRUNED},
        "marker": {"symbol": "x" if dashed else "circle", "size": 7},
        "hovertemplate": "%{customdata}: %{y:.1%}<extra></extra>",
    }


def flip_sentence(traces: Mapping[float, TokenTrace], found: Flip | None) -> str:
    """At which keep ratio the answer flips, after how many runs."""
    ratios = sorted(traces, reverse=True)
    first = traces[ratios[0]].prediction.top(1)[0]
    runs = f"{len(ratios)} run{'s' * (len(ratios) != 1)} of the model"
    if found is None:
        return (
            f"It does not fail: in {runs} the answer is {first.label}, down to a keep ratio of {percent(ratios[-1])}."
        )
    wrong = traces[found.wrong].prediction.top(1)[0]
    back = ""
    if found.again:
        back = f" Further down it says {first.label} again at {', '.join(percent(ratio) for ratio in found.again)}."
    return (
        f"The answer flips at a keep ratio of {percent(found.wrong)}, from {first.label} to {wrong.label} "
        f"({percent(wrong.prob)}). At {percent(found.right)} and each step above it is still {first.label} "
        f"({runs}).{back}"
    )


def tipped_sentence(right: TokenTrace, wrong: TokenTrace, tipped: Tipped, runs: int) -> str:
    """What the return of the patch does.

    Args:
        right: Gives the answer.
        wrong: Does not.
        tipped: The patch.
        runs: Patches that were put back, one at a time.
    """
    first = right.prediction.top(1)[0]
    row, column = divmod(tipped.patch.cell, right.grid_at(tipped.patch.selectors.stop)[1])
    low, high = float(wrong.prediction.probs[first.index]), tipped.prob
    outcome = f"and {first.label} comes first again" if tipped.restored else "though that is not enough to restore it"
    change = f"{percent(low)} to {percent(high)}"
    if high <= low:
        return (
            f"None of the {runs} patches lost between the two settings restores the answer by itself: each was put "
            f"back alone, and {first.label} rises with none."
        )
    return (
        f"The patch that tipped it: row {row + 1}, column {column + 1}. Put back alone, it takes {first.label} from "
        f"{change}, {outcome}. {runs} patch{'es were' if runs != 1 else ' was'} lost between the two settings; the "
        f"model ran with each one back."
    )


def tipped_photo(view: Image.Image, wrong: TokenTrace, tipped: Tipped, side: int = 640) -> Image.Image:
    """The photo at the setting that fails, with the patch that tipped it clear and framed.

    Args:
        view: What the model sees, square.
        wrong: Of that picture.
        tipped: The patch.
        side: Pixels of the result's longer side, rounded down to whole patches.
    """
    stage = tipped.patch.selectors.stop
    photo = pruned_photo(view, wrong, stage, side)
    rows, columns = wrong.grid_at(stage)
    row, column = divmod(tipped.patch.cell, columns)
    cell = photo.width // columns
    left, top = column * cell, row * cell
    clear = view.convert("RGB").resize((columns * cell, rows * cell), Image.Resampling.LANCZOS)
    photo.paste(clear.crop((left, top, left + cell, top + cell)), (left, top))
    edge = max(3, cell // 10)
    draw = ImageDraw.Draw(photo)
    box = (
        max(0, left - edge),
        max(0, top - edge),
        min(photo.width, left + cell + edge) - 1,
        min(photo.height, top + cell + edge) - 1,
    )
    draw.rectangle(box, outline="white", width=edge)
    inner = (left, top, left + cell - 1, top + cell - 1)
    draw.rectangle(inner, outline=rgb(MARK), width=max(2, edge // 2))
    return photo
