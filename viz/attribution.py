"""Attribution maps over the photo, of two models and their difference, all on one scale."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageEnhance

from core.inference.evidence import Evidence, Portion
from core.results.attributions import Attribution, Method
from viz.theme import MINUS, drawn, percent

WORDS: dict[Method, str] = {
    "gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "rollout": "Attention rollout",
}
SIGNED, UNSIGNED = "PuOr", "Viridis"
"""PuOr has orange below 0 and purple above; both are dark at their ends, so signs are written too."""
SIDE = 336
"""Pixels of the photo below a map."""
LIKENESS = ((0.9, "nearly alike"), (0.7, "much alike"), (0.4, "somewhat alike"), (-1.0, "differently"))
"""How alike two maps rank the patches from such a correlation of their ranks on."""
MARKED = 0.35
"""Cells beyond this share of the scale carry a sign."""


def shared_scale(*maps: np.ndarray) -> float:
    """One limit for all: the largest magnitude, or a little where all is 0."""
    return max(*(float(np.abs(values).max()) for values in maps), 1e-6)


def attribution_map(view: Image.Image, values: np.ndarray, scale: float, *, signed: bool, unit: str) -> go.Figure:
    """One map as translucent cells over the photo in grey; hovering tells patch and value.

    Args:
        view: The square that the model looks at.
        values: (rows, cols).
        scale: The end of the colour scale; it starts at minus that if signed, else at 0.
        signed: Whether values below 0 can be; then strong cells carry + or -.
        unit: What a value counts: "logits" or "%" (then of 1).
    """
    rows, cols = values.shape
    said = np.vectorize(lambda value: value_text(float(value), unit, signed=signed))(values)
    marks = np.where(np.abs(values) < MARKED * scale, "", np.where(values > 0, "+", MINUS))
    photo = {"source": _grey(view), "xref": "x", "yref": "y", "x": -0.5, "y": -0.5, "sizex": cols, "sizey": rows}
    cells = {
        "type": "heatmap",
        "z": values,
        "zmin": -scale if signed else 0,
        "zmax": scale,
        "colorscale": SIGNED if signed else UNSIGNED,
        "opacity": 0.72,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "customdata": said,
        "text": marks if signed else None,
        "texttemplate": "%{text}" if signed else None,
        "textfont": {"size": 15},
        "hovertemplate": "Row %{y}, column %{x}<br><b>%{customdata}</b><extra></extra>",
        "x": list(range(cols)),
        "y": list(range(rows)),
    }
    axis = {"visible": False, "constrain": "domain", "fixedrange": True}
    return drawn(
        [cells],
        380,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        images=[{**photo, "sizing": "stretch", "layer": "below"}],
        xaxis={**axis, "range": [-0.5, cols - 0.5]},
        yaxis={**axis, "range": [rows - 0.5, -0.5], "scaleanchor": "x"},
    )


def scale_bar(scale: float, *, signed: bool, unit: str, words: tuple[str, str]) -> go.Figure:
    """The colour scale of the maps, with its ends in numbers and in words.

    Args:
        scale: See `attribution_map`.
        signed: Likewise.
        unit: Likewise.
        words: What the low and the high end mean.
    """
    low = -scale if signed else 0.0
    ends = [value_text(end, unit, signed=signed) for end in (low, scale)]
    texts = [f"{words[0]}<br><b>{ends[0]}</b>", f"{words[1]}<br><b>{ends[1]}</b>"]
    ticks, shown = ([low, 0, scale], [texts[0], "0", texts[1]]) if signed else ([low, scale], texts)
    cells = {
        "type": "heatmap",
        "z": [np.linspace(low, scale, 101)],
        "x": np.linspace(low, scale, 101),
        "y": [0],
        "colorscale": SIGNED if signed else UNSIGNED,
        "showscale": False,
        "hoverinfo": "skip",
    }
    across = {"range": [low, scale], "showgrid": False, "zeroline": False, "fixedrange": True}
    return drawn(
        [cells],
        84,
        margin={"l": 90, "r": 90, "t": 2, "b": 50},
        xaxis={**across, "tickvals": ticks, "ticktext": shown, "tickangle": 0},
        yaxis={"visible": False, "fixedrange": True},
    )


def value_text(value: float, unit: str, *, signed: bool) -> str:
    """A value with its unit: +0.42 logits, 2.3 %."""
    if unit == "%":
        return f"{value * 100:{'+' if signed else ''}.1f} %".replace("-", MINUS)
    digits = 2 if abs(value) >= 0.095 or value == 0 else 3
    return f"{value:{'+' if signed else ''}.{digits}f} {unit}".replace("-", MINUS)


def likeness(a: np.ndarray, b: np.ndarray) -> float | None:
    """Correlation of the patches' ranks in two maps, in [-1, 1]; None where one of them is flat. Ties share a rank."""
    ranks = [_mean_ranks(values.ravel()) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value, from 0, equal values at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def likeness_word(alike: float) -> str:
    """How alike two maps rank the patches, by the correlation of their ranks."""
    return next(word for least, word in LIKENESS if alike >= least)


def why_sentence(
    opening: str,
    label: str | None,
    names: tuple[str, str],
    keepers: Sequence[str],
    divided: Sequence[Evidence | None],
) -> str:
    """How the evidence of two models is divided among the patches that stay and that leave, in one sentence.

    Args:
        opening: Stands before it, such as "They agree: "; "" for none.
        label: The class that the evidence is for; None: it is what the class token attends to.
        names: Of the two models.
        keepers: Which of them keep and drop patches: one, whose patches both are divided by, or both, each by its own.
        divided: Of each of `names`; None: nothing speaks for the class there.
    """
    found = [each for each in divided if each is not None]
    if len(found) < len(divided):
        empty = " and in ".join(name for name, each in zip(names, divided, strict=True) if each is None)
        return f"In {empty} no patch speaks for “{label}”, so there is no evidence to divide."
    what = f"evidence for “{label}”" if label is not None else "attention"
    if len(keepers) == 1:
        said = _of_one(what, names, keepers[0], found)
    else:
        said = "; ".join(_of_its_own(what, name, each) for name, each in zip(names, found, strict=True))
    return f"{opening}{said}."


def _of_one(what: str, names: tuple[str, str], keeper: str, found: Sequence[Evidence]) -> str:
    """Both models' evidence by what one of them does with the patches."""
    kept, folded, dropped = ([getattr(each, part) for each in found] for part in ("kept", "folded", "dropped"))
    patches = kept[0].patches + folded[0].patches + dropped[0].patches
    said = (
        f"{percent(kept[0].share)} of the {what} in {names[0]} and {percent(kept[1].share)} in {names[1]} lies on the "
        f"{_patches(kept[0])} that {keeper} keeps ({percent(kept[0].patches / patches)} of all)"
    )
    for (first, second), deed in ((folded, "folds into packages"), (dropped, "drops")):
        if first.patches:
            said += f", {percent(first.share)} and {percent(second.share)} on the {first.patches} that it {deed}"
    return said


def _of_its_own(what: str, name: str, found: Evidence) -> str:
    """One model's evidence by what it does with the patches itself."""
    said = f"{percent(found.kept.share)} of the {what} in {name} lies on the {_patches(found.kept)} that it keeps"
    for part, deed in ((found.folded, "folds into packages"), (found.dropped, "drops")):
        if part.patches:
            said += f", {percent(part.share)} on the {part.patches} that it {deed}"
    return said


def _patches(part: Portion) -> str:
    return f"{part.patches} patch{'es' * (part.patches != 1)}"


def how_made(found: Attribution) -> str:
    """What a person must know to trust the map: its error, what was held, what was passed over, its time."""
    said = []
    if found.error_share is not None:
        error = "less than 0.1 %" if found.error_share < 0.001 else percent(found.error_share)
        rise = value_text(found.rise, "logits", signed=True)
        said.append(
            f"From the grey picture to the photo the logit rises by {rise}; the patches add up to that, "
            f"with a convergence error of {error}."
        )
    if found.frozen_selectors:
        said.append(
            f"The decisions of its {found.frozen_selectors} selectors are held at those for the untouched photo."
        )
    if found.passed_over:
        blocks = ", ".join(str(index + 1) for index in found.passed_over)
        said.append(
            f"Block{'s' if len(found.passed_over) > 1 else ''} {blocks} "
            f"{'are' if len(found.passed_over) > 1 else 'is'} no attention any more and passed over."
        )
    return " ".join([*said, f"Took {found.seconds:.1f} s."])


def _grey(view: Image.Image) -> str:
    """The photo without its colours and with less contrast, as a small data address."""
    small = view.convert("L").convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    ImageEnhance.Contrast(small).enhance(0.8).save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
