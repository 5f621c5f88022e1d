"""What two models say about one photo: their top-5 on one scale, and how far they agree."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from core.results import Prediction
from viz.theme import DENSE, PRUNED, layout, percent


@dataclass(frozen=True)
class Agreement:
    """How far prediction B follows prediction A."""

    same_top1: bool
    """Both have the same first answer."""
    kl_nats: float
    """KL(A || B) over all classes: 0 if they agree in everything."""
    rank_in_b: int
    """Where B ranks A's first answer; 1 is first."""


def agreement(a: Prediction, b: Prediction) -> Agreement:
    """Compare two predictions over the same classes.

    Raises:
        ValueError: If the classes differ.
    """
    if a.classes != b.classes:
        raise ValueError("the two predictions are not over the same classes")
    p, q = np.float64(a.probs), np.float64(b.probs)
    kl = float(np.sum(p * (np.log(np.maximum(p, 1e-12)) - np.log(np.maximum(q, 1e-12)))))
    first = int(p.argmax())
    return Agreement(first == int(q.argmax()), max(kl, 0.0), _ranks(b)[first])


def _ranks(prediction: Prediction) -> list[int]:
    """Rank of each class, from 1, likeliest first; ties as in `Prediction.top`."""
    order = np.argsort(-prediction.probs, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks.tolist()


def top5_pair(
    a: Prediction, b: Prediction, names: tuple[str, str] = ("Dense", "Pruned"), *, ranks: bool = False
) -> go.Figure:
    """Bars of both models for the union of their top-5 classes, in A's order; A grey and hatched, B blue.

    Args:
        a: Listed first, and the one whose order counts.
        b: Over the same classes.
        names: What the legend calls them.
        ranks: Write behind B's bar how the class moved, as "rank 2 → 1".
    """
    union = {guess.index for guess in (*a.top(), *b.top())}
    shown = sorted(union, key=_ranks(a).__getitem__)
    rank_a, rank_b = _ranks(a), _ranks(b)
    labels = [a.classes[i].label for i in shown]
    text_b = [
        percent(float(b.probs[i])) + (f" · rank {rank_a[i]} → {rank_b[i]}" if ranks and rank_a[i] != rank_b[i] else "")
        for i in shown
    ]
    figure = go.Figure()
    common = {"y": labels, "orientation": "h", "textposition": "outside", "cliponaxis": False}
    hatch = {"shape": "/", "fgcolor": DENSE, "bgcolor": "rgba(0,0,0,0)", "size": 6, "solidity": 0.45}
    figure.add_bar(
        x=[float(a.probs[i]) for i in shown],
        name=names[0],
        text=[percent(float(a.probs[i])) for i in shown],
        marker={"color": DENSE, "pattern": hatch, "line": {"color": DENSE, "width": 1}},
        hovertemplate=f"{names[0]}: %{{x:.1%}}<extra>%{{y}}</extra>",
        **common,
    )
    figure.add_bar(
        x=[float(b.probs[i]) for i in shown],
        name=names[1],
        text=text_b,
        marker={"color": PRUNED},
        hovertemplate=f"{names[1]}: %{{x:.1%}}<extra>%{{y}}</extra>",
        **common,
    )
    layout(figure, 60 + 46 * len(shown), barmode="group", bargap=0.28)
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", showgrid=False)
    longest = max(float(probs[i]) for probs in (a.probs, b.probs) for i in shown)
    return figure.update_xaxes(range=[0, longest * (1.6 if ranks else 1.2)], showticklabels=False, showgrid=False)


def agreement_sentence(a: Prediction, b: Prediction) -> str:
    """One sentence: do both give the same first answer?"""
    found = agreement(a, b)
    if found.same_top1:
        return f"Same answer: {a.top(1)[0].label}. KL {found.kl_nats:.3f} nats."
    return f"Different answer: {a.top(1)[0].label} became {b.top(1)[0].label}. KL {found.kl_nats:.3f} nats."
