"""A joint model on the budget page: its keep ratios move, its budget stands."""

from core.config import ModelSpec
from pages import _shared
from pages._savings import Method, tokens_method
from viz.theme import percent


def joint_method(name: str) -> Method:
    """Keep ratios of a joint model; `joint` in the URL.

    Latency by tokens is measured for dense blocks alone, so none is foretold.
    """
    return tokens_method(name, None, "not predicted: measure it", key="joint", track="Joint")


def joint_sentence(name: str) -> str:
    """What stands still in a joint model while its keep ratios move."""
    made = _shared.loaded(ModelSpec(name)).architecture
    return (
        f"**Joint:** both methods on one model. Single-path pruning left {percent(made.macs / made.dense_macs)} of the "
        "multiply-adds, for good; its selectors then drop patches of what is left."
    )
