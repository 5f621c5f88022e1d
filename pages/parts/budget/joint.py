"""A joint model on the budget page: its keep ratios move, its budget stands."""

from core.config import ModelSpec
from core.latency.curve import RATIOS
from core.results.timings import CostCurve
from pages.parts.budget.savings import Method, tokens_method
from pages.parts.timing.scale import Times
from pages.server import models
from viz.savings import MEASURING
from viz.theme import percent


def joint_method(name: str, curve: CostCurve | None, missing: str = MEASURING, times: Times | None = None) -> Method:
    """Keep ratios of a joint model; `joint` in the URL.

    Args:
        name: The model.
        curve: What it takes here; None: nothing is predicted.
        missing: What is said in place of a prediction.
        times: See `tokens_method`.
    """
    return tokens_method(name, curve, missing, key="joint", track="Joint", times=times)


def joint_sentence(name: str) -> str:
    """What stands still in a joint model while its keep ratios move."""
    made = models.loaded(ModelSpec(name)).architecture
    return (
        f"**Joint:** both methods on one model. Single-path pruning left {percent(made.macs / made.dense_macs)} of the "
        "multiply-adds, for good; its selectors then drop patches of what is left. Its latency is read off between "
        f"{len(RATIOS)} keep ratios at which the whole model is measured here."
    )
