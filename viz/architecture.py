"""Single-path pruning in pictures: the network that a budget derives, and all budgets at once."""

from collections.abc import Sequence

import plotly.graph_objects as go

from core.results import MIXERS, Architecture, Mixer
from viz.theme import FFN, MARK, MIXER_INK, MIXER_LOOKS, MIXER_WORDS, QUIET, layout, macs_number, percent

_ROW = 36


def network(architecture: Architecture, block_macs: Sequence[int]) -> go.Figure:
    """One row per block, block 1 on top: what became of the attention, how much FFN is left, what the block costs.

    Args:
        architecture: What single-path pruning made.
        block_macs: Multiply-adds of each block, mixer and FFN together; L of them.
    """
    depth = len(architecture.mixers)
    rows = list(range(1, depth + 1))
    ratios = [left / full for left, full in zip(architecture.ffn_hidden, architecture.ffn_full, strict=True)]
    figure = go.Figure()
    figure.add_bar(
        x=[1.0] * depth, y=rows, orientation="h", marker_color=QUIET, opacity=0.5, hoverinfo="skip", showlegend=False
    )
    figure.add_bar(
        x=ratios,
        y=rows,
        orientation="h",
        name="FFN hidden units left",
        marker_color=FFN,
        customdata=list(zip(architecture.ffn_hidden, architecture.ffn_full, strict=True)),
        hovertemplate="Block %{y}: %{customdata[0]} of %{customdata[1]} FFN hidden units<extra></extra>",
        showlegend=False,
    )
    for mixer in MIXERS:
        at = [row for row, m in zip(rows, architecture.mixers, strict=True) if m == mixer]
        figure.add_scatter(
            x=[0.5] * len(at),
            y=at,
            xaxis="x2",
            mode="markers+text",
            text=[MIXER_WORDS[mixer]] * len(at),
            textfont={"color": MIXER_INK[mixer], "size": 13},
            marker={"symbol": "square", "size": 32, "color": MIXER_LOOKS[mixer].colour, "line": {"width": 0}},
            hovertemplate=f"Block %{{y}}: {MIXER_WORDS[mixer]}<extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )
    for row, ratio, cost in zip(rows, ratios, block_macs, strict=True):
        text = f"{percent(ratio)} · {macs_number(cost)}"
        figure.add_annotation(x=1.03, y=row, text=text, showarrow=False, xanchor="left", font={"size": 13})
    layout(figure, 40 + _ROW * depth, barmode="overlay", bargap=0.35, margin={"l": 0, "r": 0, "t": 28, "b": 0})
    for x, xref, text, anchor in (
        (0.5, "x2", "Mixer", "center"),
        (0.0, "x", "FFN left", "left"),
        (1.03, "x", "FFN · MACs", "left"),
    ):
        figure.add_annotation(
            x=x, xref=xref, y=1, yref="paper", text=f"<b>{text}</b>", showarrow=False, xanchor=anchor, yanchor="bottom"
        )
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_layout(
        xaxis={"range": [0, 1.6], "domain": [0.15, 1], **hidden},
        xaxis2={"range": [0, 1], "domain": [0, 0.12], "anchor": "y", **hidden},
    )
    return figure.update_yaxes(
        range=[depth + 0.5, 0.5],
        tickvals=rows,
        ticktext=[f"Block {r} " for r in rows],
        anchor="x2",
        showgrid=False,
        zeroline=False,
    )


def phase_diagram(architectures: Sequence[Architecture], labels: Sequence[str], here: int) -> go.Figure:
    """Blocks down, budgets across: which mixer each budget gives each block; the present budget is framed.

    Args:
        architectures: One per budget, rising.
        labels: What the axis calls each budget.
        here: Position of the present budget.
    """
    depth = len(architectures[0].mixers)
    figure = go.Figure()
    for mixer in MIXERS:
        cells = [
            (column, block + 1, labels[column])
            for column, found in enumerate(architectures)
            for block, m in enumerate(found.mixers)
            if m == mixer
        ]
        figure.add_scatter(
            x=[c[0] for c in cells] or [None],
            y=[c[1] for c in cells] or [None],
            customdata=[c[2] for c in cells],
            mode="markers+text",
            name=MIXER_WORDS[mixer],
            text=[MIXER_WORDS[mixer]] * len(cells),
            textfont={"color": MIXER_INK[mixer], "size": 11},
            marker={"symbol": "square", "size": 29, "color": MIXER_LOOKS[mixer].colour, "line": {"width": 0}},
            hovertemplate=f"Block %{{y}} at %{{customdata}}: {MIXER_WORDS[mixer]}<extra></extra>",
            cliponaxis=False,
        )
    figure.add_shape(
        type="rect",
        x0=here - 0.5,
        x1=here + 0.5,
        y0=0.4,
        y1=depth + 0.6,
        line={"color": MARK, "width": 3},
        fillcolor="rgba(0,0,0,0)",
    )
    layout(figure, 90 + _ROW * depth)
    figure.update_xaxes(
        title_text="Budget, % of the dense MACs",
        tickvals=list(range(len(labels))),
        ticktext=[f"<b>{label}</b>" if i == here else label for i, label in enumerate(labels)],
        tickangle=0,
        range=[-0.6, len(labels) - 0.4],
        showgrid=False,
        zeroline=False,
    )
    return figure.update_yaxes(
        range=[depth + 0.65, 0.35],
        tickvals=list(range(1, depth + 1)),
        title_text="Block",
        showgrid=False,
        zeroline=False,
    )


def architecture_sentence(architecture: Architecture) -> str:
    """In short: how many blocks kept their attention, and how much FFN is left."""
    depth, kept = len(architecture.mixers), architecture.mixers.count("msa")
    left = sum(architecture.ffn_hidden) / sum(architecture.ffn_full)
    return f"{kept} of {depth} blocks keep their attention; {percent(left)} of the FFN hidden units are left"


def mixers_sentence(architecture: Architecture) -> str:
    """What became of the attention that is gone."""
    words: dict[Mixer, str] = {
        "conv3x3": f"became a {MIXER_WORDS['conv3x3']} convolution",
        "conv1x1": f"became a {MIXER_WORDS['conv1x1']} convolution",
        "skip": "mix nothing any more",
    }
    counts = [(architecture.mixers.count(mixer), said) for mixer, said in words.items()]
    said = [f"{count} {text}" for count, text in counts if count]
    return f"Of the attention layers, {', '.join(said)}." if said else "Every block still has its attention."
