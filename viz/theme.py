"""Every colour, hatch and number format, once. Never colour alone: a hatch, a symbol or a word goes with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.basedatatypes import BaseFigure

from core.results import Mixer

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"

DENSE = "#6B7280"
PRUNED = "#0072B2"
MARK = "#D55E00"
"""What is chosen right now, on any chart."""
QUIET = "rgba(128, 128, 128, 0.35)"
"""Guide lines; reads on light and on dark."""

LIGHT_INK = "#4B5563"


@dataclass(frozen=True)
class Look:
    """A fill that stays apart without its colour."""

    colour: str
    hatch: str
    """Plotly's pattern shape; "" is a plain fill."""


SELECTORS = (
    Look("#56B4E9", "\\"),
    Look("#F0E442", "/"),
    Look("#D55E00", "x"),
    Look("#009E73", "-"),
    Look("#CC79A7", "|"),
    Look("#E69F00", "+"),
)
MIXER_LOOKS: dict[Mixer, Look] = {
    "msa": Look("#0072B2", ""),
    "conv3x3": Look("#E69F00", "x"),
    "conv1x1": Look("#56B4E9", "/"),
    "skip": Look("#BDBDBD", "."),
}
MIXER_WORDS: dict[Mixer, str] = {"msa": "MSA", "conv3x3": f"3{TIMES}3", "conv1x1": f"1{TIMES}1", "skip": "skip"}
MIXER_INK: dict[Mixer, str] = {"msa": "#FFFFFF", "conv3x3": "#111827", "conv1x1": "#111827", "skip": "#111827"}
FFN = "#009E73"
PARTS = {
    "embedding": Look("#BDBDBD", "."),
    "attention": Look("#0072B2", ""),
    "convolution": Look("#E69F00", "x"),
    "ffn": Look("#009E73", "/"),
    "selectors": Look("#D55E00", "\\"),
    "head": Look("#6B7280", "-"),
}
PART_WORDS = {
    "embedding": "Patch embedding",
    "attention": "Attention",
    "convolution": "Convolution",
    "ffn": "FFN",
    "selectors": "Selectors",
    "head": "Head",
}


def selector_look(stage: int) -> Look:
    """Colour and hatch of selector and package `stage`, from 0; they repeat after the sixth."""
    return SELECTORS[stage % len(SELECTORS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """The colour #56B4E9 as (86, 180, 233)."""
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[return-value]


def fill(look: Look) -> dict:
    """Plotly's marker of a bar with this look: the hatch in dark ink on the colour, and an edge."""
    pattern = {"shape": look.hatch, "fgcolor": "#111827", "size": 7, "solidity": 0.18, "fillmode": "overlay"}
    return {"color": look.colour, "pattern": pattern, "line": {"color": look.colour, "width": 1}}


def macs_text(count: float) -> str:
    """Multiply-adds with three digits and their unit: 78.9 M MACs, 1.25 G MACs."""
    return f"{macs_number(count)} MACs"


def macs_number(count: float) -> str:
    """The same where the label already says MACs: 78.9 M, 1.25 G."""
    unit, size = ("G", 1e9) if count >= 999.5e6 else ("M", 1e6) if count >= 999.5e3 else ("k", 1e3)
    value = count / size
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def percent(share: float) -> str:
    """A share of 1 in whole percent, 41 %; below 1 % with a digit more, and never 0 for what is not nothing."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share * 100:.1f} %" if 0 < share < 0.0095 else f"{share * 100:.0f} %"


def percent_more(ratio: float) -> str:
    """How much above or below the same a ratio is, in whole percent: 1.5 is +50 %, and 1 is 0 %."""
    points = round(100 * (ratio - 1))
    return f"{points:+d} %".replace("-", MINUS) if points else "0 %"


def percent_text(value: float) -> str:
    """A setting that is in percent already, with its half where it has one: 60 %, 60.5 %."""
    return f"{value:g} %"


class InLight(BaseFigure):
    """A figure with darker labels, for a light page: Streamlit's own grey has 3.7:1 on white, too little to read well.

    Whoever draws a figure asks for its dictionary; of this one it is a copy with another ink. A dictionary by itself
    would be checked whole again, which takes as long as making the figure.
    """

    def __init__(self, figure: go.Figure) -> None:
        """Args: `figure`, which stays as it is. It has been checked: nothing of a figure's own making is done here."""
        self._figure = figure

    def to_dict(self) -> dict:
        """The figure as dictionaries and lists, in darker ink."""
        return _light_ink(self._figure)


def _light_ink(figure: go.Figure) -> dict:
    drawing = figure.to_dict()
    ink = {"color": LIGHT_INK}
    look = drawing["layout"]
    look["font"] = {**look.get("font", {}), **ink}
    axes = {key for key in look if key.startswith(("xaxis", "yaxis"))} | {"xaxis", "yaxis"}
    for axis in (look.setdefault(key, {}) for key in axes):
        axis["tickfont"] = {**axis.get("tickfont", {}), **ink}
        _title(axis, ink)
    for key in [key for key in look if key.startswith("coloraxis")]:
        bar = look[key].setdefault("colorbar", {})
        bar["tickfont"] = {**bar.get("tickfont", {}), **ink}
        _title(bar, ink)
    for trace in drawing["data"]:
        if trace.get("type") == "bar":
            trace["textfont"] = {**trace.get("textfont", {}), **ink}
    for note in look.get("annotations", ()):
        note["font"] = {**note.get("font", {}), **ink}
    return drawing


def _title(part: dict, ink: dict) -> None:
    """Ink on the title of an axis or a colour bar."""
    title = part.setdefault("title", {})
    title["font"] = {**title.get("font", {}), **ink}


def base_layout(height: int, **more: object) -> dict:
    """What all charts share: clear background, small margins, the legend on top, nothing to drag by accident."""
    return {
        "height": height,
        "margin": {"l": 0, "r": 0, "t": 8, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": {"text": ""}},
        "font": {"size": 13},
        "dragmode": False,
        "bargap": 0.25,
        **more,
    }


def figure(traces: Sequence[dict], layout: dict) -> go.Figure:
    """A figure of these traces (Plotly's dictionaries, "type" in each).

    All in one go: checked like any figure, but adding traces and settings one by one takes Plotly five times as long.
    Plotly takes pandas for imported once another thread has begun to import it, and fails on the half of it that is
    there; who imports it here waits for the whole.
    """
    import pandas  # noqa: F401

    return go.Figure({"data": list(traces), "layout": layout})


def drawn(traces: Sequence[dict], height: int, **more: object) -> go.Figure:
    """The same in `base_layout`, with more of it."""
    return figure(traces, base_layout(height, **more))


def across(y: float, line: dict) -> dict:
    """The shape of a line at height `y` over the whole width."""
    return {"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}
