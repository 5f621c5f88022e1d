"""Where in a backbone selectors can stand, and what they find there."""

from collections.abc import Sequence

from timm.models.pit import PoolingVisionTransformer
from timm.models.vision_transformer import VisionTransformer

from core.backbones import pit
from core.errors import InputError
from core.grids import patches_at

Backbone = VisionTransformer | PoolingVisionTransformer


def check_places(backbone: Backbone, blocks: Sequence[int]) -> None:
    """Refuse places where no selector can stand: the first block, and in a PiT the first block of any stage.

    Args:
        backbone: The model.
        blocks: A selector is to stand before each of these, from 0, rising.

    Raises:
        InputError: If one cannot, or they do not rise.
    """
    depth, behind = _depth(backbone), _behind_poolings(backbone)
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


def shape_of(backbone: Backbone, block: int) -> tuple[int, int]:
    """Width D and heads H of the tokens that reach a block."""
    if isinstance(backbone, PoolingVisionTransformer):
        attention = pit.blocks_of(backbone)[block].attn
        return attention.qkv.in_features, attention.num_heads
    return backbone.embed_dim, backbone.blocks[0].attn.num_heads


def patches_of(backbone: Backbone, blocks: Sequence[int]) -> tuple[int, ...]:
    """N of the grid that each of these blocks works on."""
    if isinstance(backbone, PoolingVisionTransformer):
        return patches_at(pit.geometry_of(backbone), blocks)
    return (backbone.patch_embed.num_patches,) * len(blocks)


def _depth(backbone: Backbone) -> int:
    return len(pit.blocks_of(backbone) if isinstance(backbone, PoolingVisionTransformer) else backbone.blocks)


def _behind_poolings(backbone: Backbone) -> list[int]:
    """First blocks of the second stage and on."""
    if not isinstance(backbone, PoolingVisionTransformer):
        return []
    depths = [len(stage.blocks) for stage in backbone.transformers]
    return [sum(depths[:stage]) for stage in range(1, len(depths))]
