"""What two models say about one photo: their top-5 on one scale, and how far they agree."""

from collections.abc import Sequence

import plotly.graph_objects as go

from core.agreements import PhotoAgreement, agreement, ranks
from core.results import Prediction
from viz.theme import DENSE, PRUNED, drawn, percent


def top5_union(a: Prediction, b: Prediction) -> dict[str, int]:
    """Classes in the top-5 of either, in A's order: what a person reads, each once, to its position in the model.

    Two classes of one name (ImageNet has two cranes) are told apart by their WordNet ids.
    """
    order = ranks(a)
    shown = sorted({guess.index for guess in (*a.top(), *b.top())}, key=order.__getitem__)
    labels = [a.classes[i].label for i in shown]
    return {
        label if labels.count(label) == 1 else f"{label} ({a.classes[i].wnid or i})": i
        for label, i in zip(labels, shown, strict=True)
    }


def top5_pair(
    a: Prediction,
    b: Prediction,
    names: tuple[str, str] = ("Dense", "Pruned"),
    *,
    moves: bool = False,
    chosen: str | None = None,
) -> go.Figure:
    """Bars of both models for the union of their top-5 classes, in A's order; A grey and hatched, B blue.

    Args:
        a: Listed first, and the one whose order counts.
        b: Over the same classes.
        names: What the legend calls them.
        moves: Write behind B's bar how the class moved, as "rank 2 → 1".
        chosen: A label of `top5_union` that stands out.
    """
    union = top5_union(a, b)
    labels, shown = list(union), list(union.values())
    rank_a, rank_b = ranks(a), ranks(b)
    text_b = [
        percent(float(b.probs[i])) + (f" · rank {rank_a[i]} → {rank_b[i]}" if moves and rank_a[i] != rank_b[i] else "")
        for i in shown
    ]
    traces: list[dict] = []
    common = {
        "y": labels,
        "orientation": "h",
        "textposition": "outside",
        "cliponaxis": False,
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
    }
    hatch = {"shape": "/", "fgcolor": DENSE, "bgcolor": "rgba(0,0,0,0)", "size": 6, "solidity": 0.45}
    traces.append(
        dict(
            type="bar",
            x=[float(a.probs[i]) for i in shown],
            name=names[0],
            text=[percent(float(a.probs[i])) for i in shown],
            marker={"color": DENSE, "pattern": hatch, "line": {"color": DENSE, "width": 1}},
            hovertemplate=f"{names[0]}: %{{x:.1%}}<extra>%{{y}}</extra>",
            **common,
        )
    )
    traces.append(
        dict(
            type="bar",
            x=[float(b.probs[i]) for i in shown],
            name=names[1],
            text=text_b,
            marker={"color": PRUNED},
            hovertemplate=f"{names[1]}: %{{x:.1%}}<extra>%{{y}}</extra>",
            **common,
        )
    )
    ticks = [f"<b>▸ {label}</b>" if label == chosen else label for label in labels]
    longest = max(float(probs[i]) for probs in (a.probs, b.probs) for i in shown)
    most = longest * (1.6 if moves else 1.2)
    return drawn(
        traces,
        60 + 46 * len(shown),
        barmode="group",
        bargap=0.28,
        xaxis={"range": [0, most], "showticklabels": False, "showgrid": False},
        yaxis={
            "autorange": "reversed",
            "tickvals": labels,
            "ticktext": ticks,
            "ticksuffix": "  ",
            "showgrid": False,
        },
    )


def agreement_sentence(a: Prediction, b: Prediction) -> str:
    """One sentence: do both give the same first answer?"""
    found = agreement(a, b)
    if found.same_top1:
        return f"Same answer: {a.top(1)[0].label}. KL {found.kl_nats:.3f} nats."
    return f"Different answer: {a.top(1)[0].label} became {b.top(1)[0].label}. KL {found.kl_nats:.3f} nats."


def agreement_table(rows: Sequence[PhotoAgreement]) -> dict[str, list]:
    """The columns of a table of many photos, by their headings; probabilities in percent."""
    return {
        "Photo": [row.name for row in rows],
        "Same first answer": ["yes" if row.agreement.same_top1 else "no" for row in rows],
        "A says": [row.first_a.label for row in rows],
        "A, %": [100 * row.first_a.prob for row in rows],
        "B says": [row.first_b.label for row in rows],
        "B, %": [100 * row.first_b.prob for row in rows],
        "KL, nats": [row.agreement.kl_nats for row in rows],
        "Rank of A's answer in B": [row.agreement.rank_in_b for row in rows],
        "MACs of B, % of A's": [100 * row.macs_b / row.macs_a for row in rows],
    }
