"""Where in a backbone selectors can stand, and what they find there."""

from collections.abc import Sequence
from itertools import pairwise

from core.errors import InputError
from core.families.base import Backbone
from core.families.families import blocks_of, family_of, layout_of
from core.results import Layers
from core.soft_tokens import mixers


def check_places(backbone: Backbone, blocks: Sequence[int]) -> None:
    """Refuse places where no selector can stand: the first block, and the first block on any grid.

    Args:
        backbone: The model.
        blocks: A selector is to stand before each of these, from 0, rising.

    Raises:
        InputError: If one cannot, or they do not rise.
    """
    behind, depth = _new_grids(backbone), len(blocks_of(backbone))
    if layout_of(backbone) == "windows":
        _check_windows(backbone, behind)
    if not behind:
        mixers.check_places(blocks, [mixers.mixer_of(block) for block in blocks_of(backbone)])
        return
    if not blocks or list(blocks) != sorted(set(blocks)) or blocks[0] < 1 or blocks[-1] >= depth:
        raise InputError(
            f"Selectors stand before blocks 1 to {depth - 1} (counting from 0), rising; not {list(blocks)}."
        )
    if wrong := sorted(set(blocks) & set(behind)):
        maker = "patch merging" if layout_of(backbone) == "windows" else "a pooling"
        possible = ", ".join(str(block) for block in range(1, depth) if block not in behind)
        raise InputError(
            f"No selector can stand before block {wrong[0]}, where {maker} has just made a new grid; choose among "
            f"blocks {possible} (counting from 0)."
        )


def _check_windows(backbone: Backbone, behind: Sequence[int]) -> None:
    """Refuse a Swin that tokens cannot leave."""
    if any(mixers.mixer_of(block) != "msa" for block in blocks_of(backbone)):
        raise InputError(
            "Tokens can leave a Swin only where every block is an attention; single-path pruning has put something "
            "else into this one, so take the dense model."
        )
    if not behind:
        raise InputError("Tokens can leave a Swin only where it has two stages or more; this one has a single stage.")


def possible_places(backbone: Backbone) -> tuple[int, ...]:
    """Blocks, from 0, before which a selector or a ranking can stand."""
    found = []
    for block in range(1, len(blocks_of(backbone))):
        try:
            check_places(backbone, [block])
        except InputError:
            continue
        found.append(block)
    return tuple(found)


def usual_places(backbone: Backbone, count: int) -> tuple[int, ...]:
    """Where `count` selectors or rankings usually stand: spread over the depth, from a quarter of it on.

    In a Swin, whose stages are short but for one, none stands before the last block of a stage, if others have room:
    there one block alone would be the cheaper for it.

    Raises:
        InputError: If so many have no room.
    """
    depth, behind = len(blocks_of(backbone)), _new_grids(backbone)
    if not behind:
        return mixers.spread([mixers.mixer_of(block) for block in blocks_of(backbone)], count)
    possible = [block for block in range(max(1, depth // 4), depth) if block not in behind]
    if layout_of(backbone) == "windows":
        worth = [block for block in possible if block + 1 < depth and block + 1 not in behind]
        possible = worth if count <= len(worth) else possible
    if count > len(possible):
        raise InputError(f"There is room for {len(possible)} selectors in this model, not for {count}.")
    return tuple(possible[index * len(possible) // count] for index in range(count))


def _new_grids(backbone: Backbone) -> list[int]:
    """Blocks, from 0, before which a pooling or a merging makes a new grid."""
    grids = family_of(backbone).grids_of(backbone)
    return [block for block, (before, here) in enumerate(pairwise(grids), 1) if before != here]


def layers_of(backbone: Backbone) -> Layers:
    """Mixer and FFN width of each block, read from the modules."""
    blocks = blocks_of(backbone)
    return Layers(
        tuple(mixers.mixer_of(block) for block in blocks), tuple(block.mlp.fc1.out_features for block in blocks)
    )


def shape_of(backbone: Backbone, block: int, heads: int | Sequence[int] | None = None) -> tuple[int, int]:
    """Width D of the tokens that reach a block, and H: the block's own.

    Args:
        backbone: The model.
        block: From 0.
        heads: H of a block that is no attention any more; None: of the first block, which is one then.
    """
    blocks = blocks_of(backbone)
    here = blocks[block]
    own = here if mixers.mixer_of(here) == "msa" else blocks[0]
    return here.mlp.fc1.in_features, heads if own is not here and isinstance(heads, int) else own.attn.num_heads


def patches_of(backbone: Backbone, blocks: Sequence[int]) -> tuple[int, ...]:
    """N of the grid that each of these blocks works on."""
    grids = family_of(backbone).grids_of(backbone)
    return tuple(grids[block][0] * grids[block][1] for block in blocks)
