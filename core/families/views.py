"""How the tokens of a block lie, for what is over a grid of them: a sequence of tokens, or maps in shifted windows.

A flat family carries tokens (B, T, D), prefix tokens first; Swin carries maps (B, h, w, D), whose attention sees
shifted windows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.families.block import PreNorm

Step = Callable[[int, PreNorm, Tensor], Tensor]
"""What runs in place of a block: its number from 0, the block, and what comes in; gives what goes out."""


def to_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens (B, N, D) to maps (B, D, h, w), row-major."""
    return patches.transpose(1, 2).unflatten(2, grid)


def to_tokens(maps: Tensor, first: Tensor) -> Tensor:
    """Maps (B, D, h, w) to tokens (B, P + N, D) behind `first`, (B, P, D): what the prefix tokens get."""
    return torch.cat((first.to(maps.dtype), maps.flatten(2).transpose(1, 2)), dim=1)


@dataclass(frozen=True)
class FlatView:
    """A block of a flat family: prefix tokens, then patches."""

    grid: tuple[int, int]
    """Patch rows and columns."""
    passes: bool = False
    """Where the mixer is a convolution, prefix tokens get their input back, not nothing."""

    def attend(self, block: PreNorm, x: Tensor) -> Tensor:
        """The attention's output for normalised tokens (B, T, D)."""
        return block.attn(x)

    def maps(self, x: Tensor) -> Tensor:
        """What a convolution is over: the patches of tokens (B, T, D), as maps (B, D, h, w)."""
        return to_map(x[:, self._prefix(x) :], self.grid)

    def back(self, maps: Tensor, x: Tensor) -> Tensor:
        """The inverse of `maps`: tokens like `x`."""
        first = x[:, : self._prefix(x)]
        return to_tokens(maps, first if self.passes else torch.zeros_like(first))

    def unwindow(self, block: PreNorm) -> None:
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

    def attend(self, block: Any, x: Tensor) -> Tensor:
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

    def unwindow(self, block: Any) -> None:
        """Make one window of the whole map where a convolution takes the attention's place, in place."""
        if self.window is None:
            block.window_size, block.window_area = self.size, self.size[0] * self.size[1]
            block.shift_size, block.attn_mask = (0, 0), None


View = FlatView | MapView
