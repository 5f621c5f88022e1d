"""How the tokens of each family lie, as single-path pruning must know it: its blocks, and the maps that they hold.

Gates, mixing, deriving and compact layers are the same for all; what differs is here. A flat family carries tokens
(B, T, D), prefix tokens first; Swin carries maps (B, h, w, D), whose attention sees shifted windows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from core.backbones import deit, swin
from core.single_path.mixer import to_map, to_tokens

Backbone = VisionTransformer | SwinTransformer
Step = Callable[[int, nn.Module, Tensor], Tensor]
"""What runs in place of a block: its number from 0, the block, and what comes in; gives what goes out."""


@dataclass(frozen=True)
class FlatView:
    """A block of a flat family: prefix tokens, then patches."""

    grid: tuple[int, int]
    """Patch rows and columns."""
    passes: bool = False
    """Where the mixer is a convolution, prefix tokens get their input back, not nothing."""

    def attend(self, block: Block, x: Tensor) -> Tensor:
        """The attention's output for normalised tokens (B, T, D)."""
        return block.attn(x)

    def maps(self, x: Tensor) -> Tensor:
        """What a convolution is over: the patches of tokens (B, T, D), as maps (B, D, h, w)."""
        return to_map(x[:, self._prefix(x) :], self.grid)

    def back(self, maps: Tensor, x: Tensor) -> Tensor:
        """The inverse of `maps`: tokens like `x`."""
        first = x[:, : self._prefix(x)]
        return to_tokens(maps, first if self.passes else torch.zeros_like(first))

    def mixed(self, block: Block, out: Tensor) -> Tensor:
        """What the residual sum takes of a mixer's output."""
        return block.drop_path1(block.ls1(out))

    def fed(self, block: Block, out: Tensor) -> Tensor:
        """What the residual sum takes of an FFN's output."""
        return block.drop_path2(block.ls2(out))

    def unwindow(self, block: Block) -> None:
        """Nothing: there are no windows."""

    def _prefix(self, x: Tensor) -> int:
        return x.shape[1] - self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class MapView:
    """A block of Swin: maps (B, h, w, D) all through."""

    size: tuple[int, int]
    """Rows and columns of the map."""
    window: tuple[int, int] | None = None
    """Rows and columns of the windows that a convolution stays inside of; None: it is over the whole map."""
    shift: tuple[int, int] = (0, 0)
    """How far the map is rolled before it is cut into these windows."""
    passes: bool = False
    """Of no effect: there are no prefix tokens."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of what one convolution is over."""
        return self.window or self.size

    def attend(self, block: SwinTransformerBlock, x: Tensor) -> Tensor:
        """The attention's output in shifted windows, for normalised maps (B, h, w, D)."""
        return block._attn(x)

    def maps(self, x: Tensor) -> Tensor:
        """What a convolution is over: the map, (B, D, h, w), or its shifted windows, (B windows, D, rows, columns)."""
        if self.window is not None:
            x = x.roll((-self.shift[0], -self.shift[1]), (1, 2))
            (rows, columns), (batch, height, width, dim) = self.window, x.shape
            x = x.reshape(batch, height // rows, rows, width // columns, columns, dim).transpose(2, 3)
            x = x.reshape(-1, rows, columns, dim)
        return x.permute(0, 3, 1, 2)

    def back(self, maps: Tensor, x: Tensor) -> Tensor:
        """The inverse of `maps`: a map like `x`."""
        out = maps.permute(0, 2, 3, 1)
        if self.window is None:
            return out
        (rows, columns), (batch, height, width, dim) = self.window, x.shape
        out = out.reshape(batch, height // rows, width // columns, rows, columns, dim).transpose(2, 3)
        return out.reshape(batch, height, width, dim).roll(self.shift, (1, 2))

    def mixed(self, block: SwinTransformerBlock, out: Tensor) -> Tensor:
        """What the residual sum takes of a mixer's output."""
        return block.drop_path1(out)

    def fed(self, block: SwinTransformerBlock, out: Tensor) -> Tensor:
        """What the residual sum takes of an FFN's output."""
        return block.drop_path2(out)

    def unwindow(self, block: SwinTransformerBlock) -> None:
        """Make one window of the whole map where a convolution takes the attention's place, in place."""
        if self.window is None:
            block.window_size, block.window_area = self.size, self.size[0] * self.size[1]
            block.shift_size, block.attn_mask = (0, 0), None


View = FlatView | MapView


def views_of(backbone: Backbone, *, passes: bool = False, in_windows: bool = False) -> tuple[View, ...]:
    """How each block's tokens lie, L of them.

    Args:
        backbone: Dense, or with compact layers.
        passes: See `FlatView.passes`.
        in_windows: Convolutions of a Swin stay inside its shifted windows, as in the release's search form.
    """
    if not isinstance(backbone, SwinTransformer):
        return (FlatView(tuple(backbone.patch_embed.grid_size), passes),) * len(backbone.blocks)
    return tuple(
        MapView(block.input_resolution, block.window_size, block.shift_size)
        if in_windows
        else MapView(block.input_resolution)
        for block in blocks_of(backbone)
    )


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """All blocks from the input on, L of them."""
    if isinstance(backbone, SwinTransformer):
        return swin.blocks_of(backbone)
    return list(backbone.blocks)


def walk(backbone: Backbone, images: Tensor, step: Step) -> Tensor:
    """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

    Raises:
        InputError: If the images are not of the model's size.
    """
    if isinstance(backbone, SwinTransformer):
        return swin.walk(backbone, images, step)
    x = deit.embed(backbone, images)
    for index, block in enumerate(backbone.blocks):
        x = step(index, block, x)
    return deit.classify(backbone, x)


def head_dim(attn: nn.Module) -> int:
    """d of timm's attention of either family, also where it is wider than D / H."""
    return attn.qkv.out_features // (3 * attn.num_heads)
