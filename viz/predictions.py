"""What two models say about one photo: their top-5 on one scale, and how far they agree."""

from collections.abc import Sequence

import plotly.graph_objects as go

from core.inference.agreements import PhotoAgreement, agreement, ranks
from core.inference.common_classes import CommonClasses
from core.results import Prediction
from viz.theme import DENSE, PRUNED, drawn, percent

DISTANCES = ((0.01, "nearly the same"), (0.1, "much alike"), (0.5, "somewhat apart"), (float("inf"), "far apart"))
"""What the probabilities of two models are below such a KL divergence, in nats."""


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
    hatch = {"shape": "/", "fgcolor": DENSE, "bgcolor": "rgba(0,0,0,0)", "size": 6, "solidity": 0.45}
    look_a = {"color": DENSE, "pattern": hatch, "line": {"color": DENSE, "width": 1}}
    values_a, values_b = ([float(each.probs[i]) for i in shown] for each in (a, b))
    text_a = [percent(value) for value in values_a]
    bars = [_bars(names[0], labels, values_a, text_a, look_a), _bars(names[1], labels, values_b, text_b)]
    ticks = [f"<b>▸ {label}</b>" if label == chosen else label for label in labels]
    return _drawn(bars, labels, ticks, max(*values_a, *values_b) * (1.6 if moves else 1.2))


def top5_alone(said: Prediction, name: str = "Pruned") -> go.Figure:
    """The same of one model that there is nothing to hold against."""
    union = top5_union(said, said)
    labels, values = list(union), [float(said.probs[i]) for i in union.values()]
    bars = [_bars(name, labels, values, [percent(value) for value in values])]
    return _drawn(bars, labels, labels, max(values) * 1.2)


def _bars(name: str, labels: list[str], values: list[float], texts: list[str], look: dict | None = None) -> dict:
    """One model's bars, as Plotly's dictionary."""
    return {
        "type": "bar",
        "x": values,
        "y": labels,
        "name": name,
        "text": texts,
        "marker": look or {"color": PRUNED},
        "hovertemplate": f"{name}: %{{x:.1%}}<extra>%{{y}}</extra>",
        "orientation": "h",
        "textposition": "outside",
        "cliponaxis": False,
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
    }


def _drawn(bars: list[dict], labels: list[str], ticks: list[str], most: float) -> go.Figure:
    """Classes from the top down, `ticks` in place of their labels; bars from 0 to `most`."""
    return drawn(
        bars,
        60 + 46 * len(labels),
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
    """What a dense and a pruned model say, never as if that were right, and how far apart their answers are."""
    found, first, second = agreement(a, b), a.top(1)[0], b.top(1)[0]
    end = f"Their probabilities are {distance_word(found.kl_nats)} (KL {found.kl_nats:.3f} nats)."
    if found.same_top1:
        return f"Both say {first.label}: dense {_sureness(first.prob)}, pruned {_sureness(second.prob)}. {end}"
    return (
        f"Dense says {first.label} ({_sureness(first.prob)}), pruned {second.label} ({_sureness(second.prob)}). {end}"
    )


def headline(a: Prediction, b: Prediction, names: tuple[str, str]) -> str:
    """What both models say, or each of them."""
    first, second = a.top(1)[0], b.top(1)[0]
    if first.index == second.index:
        return f"Both say {first.label}"
    return f"{names[0]} says {first.label}, {names[1]} says {second.label}"


def sureness_sentence(a: Prediction, b: Prediction, names: tuple[str, str]) -> str:
    """How sure both are, and where the answer of the first one stands in the second where that says something else."""
    found = agreement(a, b)
    sure = "; ".join(f"{name} {_sureness(said.top(1)[0].prob)}" for name, said in zip(names, (a, b), strict=True))
    if found.same_top1:
        return f"{sure}."
    return f"{sure}. {names[0]}'s answer has rank {found.rank_in_b} of {len(b.classes):,} in {names[1]}."


def common_sentence(common: CommonClasses, names: tuple[str, str]) -> str | None:
    """On which classes two models are compared; None where both know the same."""
    if common.are_all:
        return None
    known = f"({names[0]} knows {common.known[0]:,}, {names[1]} {common.known[1]:,})"
    if not common.a:
        return f"They have no class in common {known}, so their answers stand side by side and are not compared."
    if not common.comparable:
        return f"They have only one class in common {known}, so their answers stand side by side and are not compared."
    if len(common.a) == common.known[0] == common.known[1]:
        return None  # the same classes, in another order
    return (
        f"Compared on the {len(common.a):,} classes that both know {known}. Probabilities are shares of those classes "
        "alone: the others are left out, and the rest adds up to 100 %."
    )


def _sureness(share: float) -> str:
    """A probability, and whether the model takes it to be wrong rather than right."""
    return percent(share) + (", unsure" if share < 0.5 else "")


def distance_word(kl_nats: float) -> str:
    """How much a KL divergence is, in words."""
    return next(word for most, word in DISTANCES if kl_nats < most)


def agreement_table(rows: Sequence[PhotoAgreement], names: tuple[str, str] = ("A", "B")) -> dict[str, list]:
    """The columns of a table of many photos, by their headings; probabilities in percent.

    Args:
        rows: What was found.
        names: What A and B are called.
    """
    a, b = names
    return {
        "Photo": [row.name for row in rows],
        "Same first answer": ["yes" if row.agreement.same_top1 else "no" for row in rows],
        f"{a} says": [row.first_a.label for row in rows],
        f"{a}, %": [100 * row.first_a.prob for row in rows],
        f"{b} says": [row.first_b.label for row in rows],
        f"{b}, %": [100 * row.first_b.prob for row in rows],
        "KL, nats": [row.agreement.kl_nats for row in rows],
        f"Rank of {a}'s answer in {b}": [row.agreement.rank_in_b for row in rows],
        f"MACs of {b}, % of {a}'s": [100 * row.macs_b / row.macs_a for row in rows],
    }
