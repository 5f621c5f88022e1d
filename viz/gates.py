"""The gates of single-path pruning: values of one block, and how they moved during the search."""

import numpy as np
import plotly.graph_objects as go

from core.results import Architecture, Mixer
from core.single_path.searched import GateHistory, Gates, KernelReading
from viz.theme import FFN, MIXER_LOOKS, MIXER_WORDS, QUIET, across, drawn, percent

GATES: tuple[Mixer, ...] = ("conv1x1", "conv3x3", "msa")
"""What each of the three gates of a block opens, in their order."""
_LINES = (("dot", "triangle-up"), ("dash", "square"), ("solid", "circle"))


def _probability(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def gate_rows(gates: Gates, block: int, mixer: Mixer) -> list[dict[str, str]]:
    """The three mixer gates of one block as rows of a table; they nest, so a gate is open only if those before it are.

    Args:
        gates: Learned.
        block: From 0.
        mixer: What the block is at the present budget.
    """
    opened = GATES.index(mixer) + 1 if mixer in GATES else 0
    return [
        {
            "Gate": str(index + 1),
            "Opens": MIXER_WORDS[kind] + (" or more" if kind != "msa" else ""),
            "Probability": f"{100 * _probability(logit):.0f} %",
            "Logit": f"{logit:.2f}",
            "At this budget": "open" if index < opened else "closed",
        }
        for index, (kind, logit) in enumerate(zip(GATES, gates.mixer_logits[block], strict=True))
    ]


def gate_table(gates: Gates, block: int, mixer: Mixer) -> str:
    """`gate_rows` as a table in Markdown: three rows need no data frame, which takes longer than a chart."""
    rows = gate_rows(gates, block, mixer)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ffn_gates(logits: np.ndarray, kept: np.ndarray) -> go.Figure:
    """All FFN gates of one block, likeliest first: those that the budget keeps, and those that it closes.

    Args:
        logits: float (F,).
        kept: bool (F,).
    """
    order = np.argsort(-logits, kind="stable")
    probability, open_ = _probability(logits[order]) * 100, kept[order]
    traces: list[dict] = []
    for name, chosen, look in (
        (f"kept: {int(kept.sum())}", open_, {"color": FFN}),
        (f"closed: {int((~kept).sum())}", ~open_, {"color": "#BDBDBD"}),
    ):
        traces.append(
            {
                "type": "bar",
                "x": np.flatnonzero(chosen) + 1,
                "y": probability[chosen],
                "name": name,
                "marker": look | {"line": {"width": 0}},
                "hovertemplate": "Hidden unit %{x} by rank: %{y:.1f} %<extra></extra>",
            }
        )
    return drawn(
        traces,
        260,
        bargap=0,
        xaxis={"title": {"text": "FFN hidden units of the block, likeliest first"}, "showgrid": False},
        yaxis={"title": {"text": "Probability, %"}, "range": [0, 100], "gridcolor": QUIET},
    )


def gate_curves(history: GateHistory, block: int) -> go.Figure:
    """Probability of each mixer gate of one block over the search, and of its FFN gates (mean and quartiles).

    Args:
        history: Of the search.
        block: From 0.
    """
    epochs = history.epochs
    traces: list[dict] = []
    ffn = _probability(history.ffn_logits[block]) * 100  # (K, F)
    low, high = np.percentile(ffn, (25, 75), axis=1)
    traces.append(
        {
            "type": "scatter",
            "x": np.concatenate((epochs, epochs[::-1])),
            "y": np.concatenate((high, low[::-1])),
            "fill": "toself",
            "fillcolor": "rgba(0, 158, 115, 0.22)",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": "FFN gates, middle half",
        }
    )
    traces.append(
        {
            "type": "scatter",
            "x": epochs,
            "y": ffn.mean(axis=1),
            "mode": "lines",
            "name": "FFN gates, mean",
            "line": {"color": FFN, "width": 2, "dash": "dashdot"},
            "hovertemplate": "FFN gates, mean: %{y:.1f} %<extra></extra>",
        }
    )
    for index, (kind, (dash, symbol)) in enumerate(zip(GATES, _LINES, strict=True)):
        name = f"Gate {index + 1}: {MIXER_WORDS[kind]}" + (" or more" if kind != "msa" else "")
        traces.append(
            {
                "type": "scatter",
                "x": epochs,
                "y": _probability(history.mixer_logits[:, block, index]) * 100,
                "mode": "lines+markers",
                "name": name,
                "line": {"color": MIXER_LOOKS[kind].colour, "width": 2, "dash": dash},
                "marker": {"symbol": symbol, "size": 7, "maxdisplayed": 12},
                "hovertemplate": f"{name}: %{{y:.1f}} %<extra></extra>",
            }
        )
    return drawn(
        traces,
        340,
        hovermode="x unified",
        shapes=[across(50, {"color": QUIET, "dash": "dot"})],
        xaxis={"title": {"text": "Epochs of the search"}, "showgrid": False},
        yaxis={"title": {"text": "Probability of being open, %"}, "range": [0, 101], "gridcolor": QUIET},
    )


def why_sentence(gates: Gates, found: Architecture, block: int) -> str:
    """Why a block became what it did: how its gates rank among all blocks', as a budget closes them.

    Args:
        gates: Learned.
        found: What the budget derives from them.
        block: From 0.
    """
    worth = gates.mixer_logits.min(axis=1)  # (L,): an attention is open only if all three gates are
    rank = int((worth > worth[block]).sum()) + 1
    kept = [hidden / full for hidden, full in zip(found.ffn_hidden, found.ffn_full, strict=True)]
    became = "stays" if found.mixers[block] == "msa" else f"becomes {MIXER_WORDS[found.mixers[block]]}"
    return (
        f"Why: of the {len(worth)} attentions this one ranks {rank} in use per multiply-add, and at this budget it "
        f"{became}. {percent(kept[block])} of its FFN's units rank above those that the budget closes; in the median "
        f"block it is {percent(float(np.median(kept)))}. A budget closes the gates of all blocks in one order, the "
        "least useful per multiply-add first, until it is met."
    )


def mixing_sentence(reading: KernelReading) -> str:
    """How far the search moved the mixture from where it started, even shares for all heads."""
    low, high, even = reading.head_share.min(), reading.head_share.max(), 1 / len(reading.head_share)
    if high - low < 0.005:
        return f"All heads count alike in it, {100 * even:.1f} % each."
    return (
        f"Heads count between {100 * low:.1f} and {100 * high:.1f} % in it, each by learned logits; {100 * even:.1f} % "
        "would be alike, as at the start."
    )
