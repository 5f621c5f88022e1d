"""What was recorded of a model, and of other methods on its dense weights, as points of a frontier."""

from collections.abc import Sequence
from dataclasses import replace

from core.config import ModelSpec
from core.evaluation.recorded import margin, peer_of, spec_of
from core.models.load import Loaded
from core.results import Recorded
from pages.server import budgets, models, records
from viz.peers import PEER_NAMES
from viz.savings import Point, Series


def all_rows(name: str) -> list[Recorded]:
    """What was recorded of a model, and beside it of other methods; not of another model that had its name."""
    dense = models.loaded(ModelSpec(name)).dense_macs
    return [row for row in records.evaluations() if (row.model, row.dense_macs) == (name, dense)]


def rows_of(name: str) -> list[Recorded]:
    """What was recorded of a model; not of another one that had its name."""
    model = models.loaded(ModelSpec(name))
    return [row for row in all_rows(name) if _possible(row, model)]


def _possible(row: Recorded, model: Loaded) -> bool:
    """Whether the row's model takes its setting."""
    spec = spec_of(row)
    if spec is None or replace(spec, keep=None, budget=None) != ModelSpec(row.model):  # no slider's
        return False
    if spec.keep is not None:
        selectors = model.card.selectors
        return selectors is not None and len(spec.keep) == len(selectors.blocks)
    return spec.budget is None or (model.gates is not None and spec.budget >= budgets.reachable(row.model)[0])


def peer_series(dense: str | None, tokens: str | None) -> list[Series]:
    """Other methods on the dense weights, recorded beside either model; their latency is nowhere predicted."""
    rows = [row for name in (tokens, dense) if name for row in all_rows(name)]
    by_peer = {title: [row for row in rows if peer_of(row) == peer] for peer, title in PEER_NAMES.items()}
    return [
        Series(title, [_peer_point(row) for row in found], joined=False) for title, found in by_peer.items() if found
    ]


def _peer_point(row: Recorded) -> Point:
    setting = row.setting.partition("--method")[0].strip().removeprefix("--")
    like = "the pruned model" if not setting else f"the pruned model at {setting}"
    label = setting if setting.startswith("budget") else f"at the MACs of {like}"
    return Point(row.mean_macs, None, row.top1, label, margin(row))


def peers_sentence(series: Sequence[Series]) -> str:
    """What sets other methods' points apart, where there are some."""
    names = [made.name for made in series if made.name in PEER_NAMES.values()]
    if not names:
        return ""
    return (
        f" {', '.join(names)}: the untouched dense weights, with nothing trained for the method; the weights of the "
        "pruned models were trained further."
    )
