"""What a model is made of, as one dictionary that JSON can hold: `describe --json`, and the app's download."""

from core.costs.geometry import Geometry
from core.costs.grids import pools
from core.models.load import Loaded
from core.models.macs import fixed_macs
from core.single_path.published import Published, architecture_of, params_of


def description(loaded: Loaded) -> dict:
    """Mixer and FFN width per block, MACs, parameters; None where something does not apply. Blocks count from 0."""
    geometry, architecture, selectors = loaded.card.geometry, loaded.architecture, loaded.card.selectors
    keep = () if selectors is None else (loaded.spec.keep or selectors.targets)
    return {
        "model": loaded.spec.name,
        "family": loaded.card.family,
        "grid": list(geometry.grid),
        "classes": geometry.classes,
        "mixers": list(architecture.mixers) if architecture else ["msa"] * geometry.depth,
        "ffn_hidden": list(architecture.ffn_hidden) if architecture else list(geometry.ffn_widths),
        "macs": fixed_macs(loaded),
        "dense_macs": loaded.dense_macs,
        "params": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "params_stored": loaded.stored_params,
        "asked_macs": loaded.spec.budget or (architecture and architecture.asked_macs),
        "selectors": selectors and [_selector(geometry, b, k) for b, k in zip(selectors.blocks, keep, strict=True)],
        **({"notes": list(loaded.card.notes)} if loaded.card.notes else {}),
    }


def told_grids(loaded: Loaded) -> dict:
    """What a photo's JSON says besides where the grid changes: rows and columns of the one that each selector sees."""
    geometry, selectors = loaded.card.geometry, loaded.card.selectors
    if selectors is None or not pools(geometry):
        return {}
    return {"grids": [list(geometry.block_grids[block]) for block in selectors.blocks]}


def _selector(geometry: Geometry, block: int, keep: float) -> dict:
    """Place and share; and the grid of whose patches it is a share, where that changes from block to block."""
    told = {"block": block, "keep": keep}
    return told | {"grid": list(geometry.block_grids[block])} if pools(geometry) else told


def published_description(found: Published) -> dict:
    """The same of a published architecture, counted in closed form; it needs no weights."""
    architecture, params = architecture_of(found), params_of(found)
    return {
        "model": found.name,
        "family": found.family,
        "grid": list(found.geometry.grid),
        "classes": found.geometry.classes,
        "mixers": list(found.mixers),
        "ffn_hidden": list(found.ffn_hidden),
        "macs": architecture.macs,
        "dense_macs": architecture.dense_macs,
        "params": params.compact,
        "params_stored": params.stored,
        "asked_macs": found.asked_macs,
        "selectors": None,
    }
