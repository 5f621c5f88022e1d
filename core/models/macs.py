"""What a loaded model costs, where that does not depend on the photo."""

from core.costs.macs import count_macs
from core.models.load import Loaded
from core.results import MacCount
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import schedule_macs


def macs_of(loaded: Loaded) -> MacCount:
    """MACs of one image through a model whose cost does not depend on the image."""
    architecture = loaded.architecture
    if architecture is None:
        return count_macs(loaded.card.geometry)
    return count_macs(loaded.card.geometry, mixers=architecture.mixers, ffn_hidden=architecture.ffn_hidden)


def fixed_macs(loaded: Loaded) -> int | None:
    """MACs of one image, where they are the same for all."""
    model, keep = loaded.model, loaded.spec.keep
    if not isinstance(model, SoftTokenViT):
        return macs_of(loaded).total
    return None if keep is None else schedule_macs(loaded.card.geometry, model.blocks, keep, model.layers).total
