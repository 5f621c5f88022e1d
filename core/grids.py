"""Which grid of patches each block of a model works on: one for all in a flat family, several where a family pools.

After a pooling every cell of the smaller grid is a token again, and an image has one package, which goes on.
"""

from collections.abc import Sequence

from core.config import Geometry


def pools(geometry: Geometry) -> bool:
    """Whether the grid changes from block to block."""
    return len(set(geometry.block_grids)) > 1


def patches_at(geometry: Geometry, blocks: Sequence[int]) -> tuple[int, ...]:
    """N of the grid that each of these blocks works on."""
    return tuple(geometry.block_grids[at][0] * geometry.block_grids[at][1] for at in blocks)


def end_of_grid(geometry: Geometry, block: int) -> int:
    """The block, from 0, at which the grid of `block` has ended; L where it lasts."""
    grids = geometry.block_grids
    return next((later for later in range(block, len(grids)) if grids[later] != grids[block]), len(grids))


def dense_tokens(geometry: Geometry) -> tuple[int, ...]:
    """Tokens in each block where nothing is pruned, L of them."""
    return tuple(geometry.prefix_tokens + patches for patches in patches_at(geometry, range(geometry.depth)))
