"""Which grid of patches each block of a model works on: one for all in a flat family, several where a family pools.

After a pooling every cell of the smaller grid is a token again, and an image has one package, which goes on.
"""

from collections.abc import Sequence

from core.costs.geometry import Geometry


def pools(geometry: Geometry) -> bool:
    """Whether the grid changes from block to block."""
    return len(set(geometry.block_grids)) > 1


def patches_at(geometry: Geometry, blocks: Sequence[int]) -> tuple[int, ...]:
    """N of the grid that each of these blocks works on."""
    grids = geometry.block_grids
    return tuple(grids[at][0] * grids[at][1] for at in blocks)


def end_of_grid(geometry: Geometry, block: int) -> int:
    """The block, from 0, at which the grid of `block` has ended; L where it lasts."""
    grids = geometry.block_grids
    return next((later for later in range(block, len(grids)) if grids[later] != grids[block]), len(grids))


def dense_tokens(geometry: Geometry) -> tuple[int, ...]:
    """Tokens in each block where nothing is pruned, L of them."""
    return tuple(geometry.prefix_tokens + patches for patches in patches_at(geometry, range(geometry.depth)))


def patches_left(geometry: Geometry, blocks: Sequence[int], kept: Sequence[int]) -> tuple[int, ...]:
    """Patches that are tokens of their own in each block, L of them.

    Args:
        geometry: The dense model.
        blocks: Before which the selectors stand, from 0, rising.
        kept: How many each of them leaves alive, until its grid ends.
    """
    patches = list(patches_at(geometry, range(geometry.depth)))
    for block, count in zip(blocks, kept, strict=True):
        end = end_of_grid(geometry, block)
        patches[block:end] = [count] * (end - block)
    return tuple(patches)
