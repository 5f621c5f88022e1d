"""What a loaded model costs, where that does not depend on the photo."""

from core.models.load import Loaded
from core.results import MacCount
from core.single_path import method as single_path
from core.soft_tokens import method as soft_tokens
from core.soft_tokens.model import SoftTokenViT


def macs_of(loaded: Loaded) -> MacCount:
    """MACs of one image through a model without its selectors."""
    return single_path.macs(loaded.card.geometry, loaded.architecture)


def fixed_macs(loaded: Loaded) -> int | None:
    """MACs of one image, where they are the same for all."""
    if not isinstance(loaded.model, SoftTokenViT):
        return macs_of(loaded).total
    found = soft_tokens.macs(loaded.model, loaded.card.geometry, loaded.spec.keep)
    return None if found is None else found.total
