"""Block by block, what one photo costs a model with token selectors: its tokens and its multiply-adds."""

from collections.abc import Sequence

import plotly.graph_objects as go

from core.results import MacCount, TokenTrace
from viz.theme import DENSE, PART_WORDS, PARTS, PRUNED, QUIET, drawn, fill, selector_look


def tokens_per_block(trace: TokenTrace) -> go.Figure:
    """Tokens that each block computes, stacked: prefix tokens, kept patches, packages; dashed: the dense model."""
    blocks = [str(block + 1) for block in range(len(trace.tokens))]
    dense = trace.dense_tokens or (trace.tokens[0],) * len(blocks)
    first = trace.tokens[0] - trace.grid[0] * trace.grid[1]  # prefix tokens
    passed = [sum(at <= block for at in trace.blocks) for block in range(len(blocks))]  # selectors before each block
    has_package = trace.package_weight.sum(axis=1) > 0  # (S,)
    folded = [int(has_package[:s].any()) if trace.one_package else int(has_package[:s].sum()) for s in passed]
    kept = [tokens - first - packages for tokens, packages in zip(trace.tokens, folded, strict=True)]
    prefix = [first] * len(blocks)
    traces: list[dict] = []
    traces.append(
        {
            "type": "bar",
            "x": blocks,
            "y": prefix,
            "name": trace.first.removeprefix("the ").capitalize() or "No other token",
            "marker_color": DENSE,
            "hovertemplate": "%{y} " + (trace.first.removeprefix("the ") or "other tokens"),
        }
    )
    after = [f"after selector {s}" if s else "before any selector" for s in passed]
    traces.append(
        {
            "type": "bar",
            "x": blocks,
            "y": kept,
            "name": "Kept patches",
            "marker_color": PRUNED,
            "customdata": after,
            "hovertemplate": "%{y} patches, %{customdata}",
        }
    )
    if trace.one_package:
        traces.append(
            {
                "type": "bar",
                "x": blocks,
                "y": folded,
                "name": "Package",
                "marker": fill(selector_look(0)),
                "hovertemplate": "%{y} package token",
            }
        )
    for index in () if trace.one_package else range(len(trace.blocks)):
        inside = int((trace.package_weight[index] > 0).sum())
        traces.append(
            {
                "type": "bar",
                "x": blocks,
                "y": [int(has_package[index] and s > index) for s in passed],
                "name": f"Package {index + 1}",
                "marker": fill(selector_look(index)),
                "hovertemplate": f"%{{y}} package token of {inside} patches",
            }
        )
    traces.append(
        {
            "type": "scatter",
            "x": blocks,
            "y": list(dense),
            "mode": "lines",
            "line": {"color": DENSE, "dash": "dash", "width": 2},
            "name": f"Dense: {' to '.join(map(str, sorted({max(dense), min(dense)}, reverse=True)))} tokens",
            "hoverinfo": "skip",
        }
    )
    return _by_block(traces, trace, "Tokens")


def macs_per_block(trace: TokenTrace, counts: Sequence[MacCount], dense: int | None) -> go.Figure:
    """Multiply-adds of each block, stacked by part; dashed: a block of the dense model.

    Args:
        trace: Of one photo.
        counts: Of each block, L of them, as `core.costs.macs.macs_per_block` gives them.
        dense: Multiply-adds of a block of the dense model; None: its blocks are not alike.
    """
    blocks = [str(block + 1) for block in range(len(counts))]
    parts = ("attention", "convolution", "ffn", "selectors")
    traces: list[dict] = [
        {
            "type": "bar",
            "x": blocks,
            "y": [getattr(count, part) / 1e6 for count in counts],
            "name": PART_WORDS[part],
            "marker": fill(PARTS[part]),
            "hovertemplate": "%{y:.3~g} M MACs",
        }
        for part in parts
        if part != "convolution" or any(count.convolution for count in counts)
    ]
    if dense is not None:
        traces.append(
            {
                "type": "scatter",
                "x": blocks,
                "y": [dense / 1e6] * len(blocks),
                "mode": "lines",
                "line": {"color": DENSE, "dash": "dash", "width": 2},
                "name": "Dense block",
                "hoverinfo": "skip",
            }
        )
    return _by_block(traces, trace, "M MACs")


def _by_block(traces: list[dict], trace: TokenTrace, unit: str) -> go.Figure:
    """Blocks across, and dotted where a selector stands before one."""
    line = {"color": QUIET, "width": 2, "dash": "dot"}
    common = {"type": "line", "xref": "x", "yref": "y domain", "y0": 0, "y1": 1, "line": line}
    return drawn(
        traces,
        320,
        barmode="stack",
        hovermode="x unified",
        bargap=0.15,
        shapes=[{**common, "x0": block - 0.5, "x1": block - 0.5} for block in trace.blocks],
        xaxis={"title": {"text": "Block (dotted: a selector stands before it)"}, "type": "category"},
        yaxis={"title": {"text": unit}, "rangemode": "tozero"},
        legend_traceorder="normal",
    )
