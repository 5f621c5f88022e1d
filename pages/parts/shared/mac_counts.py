"""Multiply-adds that pages show, of photos and of blocks."""

from collections.abc import Sequence

from core.config import ModelSpec
from core.costs.grids import pools
from core.costs.macs import block_prices, count_macs
from core.costs.macs import macs_per_block as count_per_block
from core.models.macs import macs_of as fixed_count
from core.results import Architecture, MacCount
from core.single_path.blocks import block_count
from pages.server import inference, keeping, models


def macs_per_block(spec: ModelSpec, image_id: str) -> tuple[MacCount, ...]:
    """Multiply-adds of each block of this photo through a model with token selectors."""
    found = keeping.deciding(spec)[0]
    return count_per_block(found.card.geometry, inference.token_trace(spec, image_id), found.model.layers)


def dense_count(name: str) -> MacCount:
    """Multiply-adds of the dense model, by part."""
    return count_macs(models.loaded(ModelSpec(name)).card.geometry)


def whole_count(name: str) -> MacCount:
    """Multiply-adds of a model without its selectors, by part."""
    return fixed_count(models.loaded(ModelSpec(name)))


def dense_block(name: str) -> int | None:
    """Multiply-adds of one block of the dense model; None where its blocks are not alike."""
    geometry = models.loaded(ModelSpec(name)).card.geometry
    return None if pools(geometry) else block_count(geometry, 0, "msa", geometry.ffn_widths[0]).total


def macs_of(spec: ModelSpec, image_id: str) -> MacCount:
    """Multiply-adds of this photo through the model, by part."""
    if models.loaded(ModelSpec(spec.name)).kind.selects:  # however it is to decide: no other model to load
        return inference.token_trace(spec, image_id).macs
    return fixed_count(models.loaded(spec))


def block_counts(name: str, found: Architecture, block: int) -> tuple[MacCount, MacCount]:
    """Multiply-adds of one block by part: dense, and in this architecture."""
    geometry = models.loaded(ModelSpec(name)).card.geometry
    return (
        block_count(geometry, block, "msa", geometry.ffn_widths[block]),
        block_count(geometry, block, found.mixers[block], found.ffn_hidden[block]),
    )


def block_macs(name: str, all_found: Sequence[Architecture]) -> list[list[int]]:
    """Multiply-adds of each block of each architecture, mixer and FFN together."""
    geometry = models.loaded(ModelSpec(name)).card.geometry
    prices = block_prices(geometry)
    return [
        [
            price.mixers[mixer] + hidden * price.unit
            for price, mixer, hidden in zip(prices, found.mixers, found.ffn_hidden, strict=True)
        ]
        for found in all_found
    ]
