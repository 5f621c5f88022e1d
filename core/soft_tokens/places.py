"""Where in a backbone selectors can stand, and what they find there."""

from collections.abc import Sequence

from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import VisionTransformer

from core.backbones import pit
from core.errors import InputError
from core.grids import patches_at
from core.results import DENSE_LAYERS, Layers
from core.soft_tokens import mixers

Backbone = VisionTransformer | PoolingVisionTransformer


def check_places(backbone: Backbone, blocks: Sequence[int]) -> None:
    """Refuse places where no selector can stand: the first block, and in a PiT the first block of any stage.

    Args:
        backbone: The model.
        blocks: A selector is to stand before each of these, from 0, rising.

    Raises:
        InputError: If one cannot, or they do not rise.
    """
    if not isinstance(backbone, PoolingVisionTransformer):
        mixers.check_places(blocks, found_layers(backbone).mixers)
        return
    depths = [len(stage.blocks) for stage in backbone.transformers]
    depth, behind = sum(depths), [sum(depths[:stage]) for stage in range(1, len(depths))]
    if not blocks or list(blocks) != sorted(set(blocks)) or blocks[0] < 1 or blocks[-1] >= depth:
        raise InputError(
            f"Selectors stand before blocks 1 to {depth - 1} (counting from 0), rising; not {list(blocks)}."
        )
    if wrong := sorted(set(blocks) & set(behind)):
        possible = ", ".join(str(block) for block in range(1, depth) if block not in behind)
        raise InputError(
            f"No selector can stand before block {wrong[0]}, where a pooling has just made a new grid; choose among "
            f"blocks {possible} (counting from 0)."
        )


def possible_places(backbone: Backbone) -> tuple[int, ...]:
    """Blocks, from 0, before which a selector or a ranking can stand."""
    depth = len(found_layers(backbone).mixers or ()) or sum(len(stage.blocks) for stage in backbone.transformers)
    found = []
    for block in range(1, depth):
        try:
            check_places(backbone, [block])
        except InputError:
            continue
        found.append(block)
    return tuple(found)


def usual_places(backbone: Backbone, count: int) -> tuple[int, ...]:
    """Where `count` selectors or rankings usually stand: spread over the depth, from a quarter of it on.

    Raises:
        InputError: If so many have no room.
    """
    if isinstance(backbone, PoolingVisionTransformer):
        depths = [len(stage.blocks) for stage in backbone.transformers]
        behind = {sum(depths[:stage]) for stage in range(len(depths))}
        possible = [block for block in range(max(1, sum(depths) // 4), sum(depths)) if block not in behind]
        if count > len(possible):
            raise InputError(f"There is room for {len(possible)} selectors in this model, not for {count}.")
        return tuple(possible[index * len(possible) // count] for index in range(count))
    return mixers.spread(found_layers(backbone).mixers, count)


def found_layers(backbone: Backbone) -> Layers:
    """What the blocks are, where single-path pruning may have changed them; a PiT's it cannot."""
    return DENSE_LAYERS if isinstance(backbone, PoolingVisionTransformer) else mixers.layers_of(backbone)


def shape_of(backbone: Backbone, block: int, heads: int | None = None) -> tuple[int, int]:
    """Width D of the tokens that reach a block, and H: `heads`, if given, in a flat family; else of the first block."""
    if isinstance(backbone, PoolingVisionTransformer):
        attention = pit.blocks_of(backbone)[block].attn
        return attention.qkv.in_features, attention.num_heads
    return backbone.embed_dim, backbone.blocks[0].attn.num_heads if heads is None else heads


def patches_of(backbone: Backbone, blocks: Sequence[int]) -> tuple[int, ...]:
    """N of the grid that each of these blocks works on."""
    if isinstance(backbone, PoolingVisionTransformer):
        return patches_at(pit.geometry_of(backbone), blocks)
    return (backbone.patch_embed.num_patches,) * len(blocks)
