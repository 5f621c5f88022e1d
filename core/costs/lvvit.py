"""LV-ViT in numbers: its geometry, and what its convolutional stem and its two heads cost; its blocks are a flat ViT's.

Jiang et al. 2021, arXiv:2104.10858, and the models that they released.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.costs.geometry import BlockShape, Geometry, check_flat, check_sizes
from core.costs.params import linear_params, norm_params
from core.results import MacCount

FIRST_KERNEL, KERNEL = 7, 3
"""Sides of the stem's convolutions: one of stride 2, then two of stride 1."""
SHRINK = 2
"""What the stem divides the side of the image by, before patches are cut out of it."""
AUX_WEIGHT = 0.5
"""Of the auxiliary head's maximum over the patches, beside the class head's logits."""


@dataclass(frozen=True)
class LvvitGeometry(Geometry):
    """Shape of an LV-ViT: a flat ViT with a convolutional stem, shortened residual branches and an auxiliary head."""

    img_size: int
    """Side of the square input, pixels."""
    patch: int
    """Side of one patch, pixels; the grid is img_size // patch on each side."""
    width: int
    """D."""
    depth: int
    """L."""
    heads: int
    """H."""
    ffn_hidden: int
    """F of an unpruned block."""
    classes: int
    """C."""
    stem_channels: int = 64
    """Of each of the three convolutions before the patches are projected."""
    residual: float = 2.0
    """By which both residual branches of a block are divided."""
    qkv_bias: bool = False
    aux_head: bool = True
    """Whether every patch is classified too."""

    def __post_init__(self) -> None:
        sizes = (self.img_size, self.patch, self.width, self.depth, self.heads, self.ffn_hidden, self.classes)
        check_sizes(self, *sizes)
        check_flat(self, self.width, self.heads)
        if self.patch % SHRINK or self.stem_channels < 1 or not self.residual > 0:
            raise ValueError(f"the patch must be even, stem channels and residual divisor above 0: {self}")

    @property
    def prefix_tokens(self) -> int:
        """The class token."""
        return 1

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        side = self.img_size // self.patch
        return side, side

    @property
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """The same grid for each block."""
        return (self.grid,) * self.depth

    def blocks(self) -> tuple[BlockShape, ...]:
        """Blocks that are all alike."""
        return (BlockShape(1 + self.patches, self.patches, self.width, self.heads, self.ffn_hidden),) * self.depth

    def overhead(self, blocks: Sequence[BlockShape]) -> MacCount:
        """The stem, the classifier, D C, and the auxiliary head on the patches that are alive at the end."""
        head = self.width * self.classes + aux_macs(self, blocks[-1].patches)
        return MacCount(embedding=stem_macs(self), head=head)

    def overhead_params(self) -> int:
        """The stem, the class token, a position for every token, the last norm and the heads."""
        channels, side = self.stem_channels, self.patch // SHRINK
        kernels = FIRST_KERNEL**2 * 3 * channels + 2 * KERNEL**2 * channels**2
        stem = kernels + 3 * norm_params(channels) + linear_params(side**2 * channels, self.width)
        heads = (2 if self.aux_head else 1) * linear_params(self.width, self.classes)
        return stem + (2 + self.patches) * self.width + norm_params(self.width) + heads

    def bias_params(self, block: BlockShape) -> int:
        """3 D, or none."""
        return 3 * block.width if self.qkv_bias else 0


LVVIT = {
    "lvvit_t": LvvitGeometry(224, 16, 240, 12, 4, 720, 1000, residual=1.0),
    "lvvit_s": LvvitGeometry(224, 16, 384, 16, 6, 1152, 1000),
    "lvvit_m": LvvitGeometry(224, 16, 512, 20, 8, 1536, 1000),
    "lvvit_l": LvvitGeometry(448, 16, 768, 24, 12, 2304, 1000, stem_channels=128, residual=3.0),
}
"""By the names of their release."""


def stem_macs(geometry: LvvitGeometry) -> int:
    """MACs of embedding the patches.

    With the image's half side h and c channels: 49 h^2 3 c, then twice 9 h^2 c^2, and a projection of p/2 x p/2 x c
    numbers to D for each of the N patches.
    """
    area, channels = (geometry.img_size // SHRINK) ** 2, geometry.stem_channels
    convolutions = FIRST_KERNEL**2 * 3 * channels + 2 * KERNEL**2 * channels**2
    return area * convolutions + geometry.patches * (geometry.patch // SHRINK) ** 2 * channels * geometry.width


def aux_macs(geometry: LvvitGeometry, patches: int | None = None) -> int:
    """MACs of the auxiliary head: D C for each of the `patches` that are still alive at the end (None: all N)."""
    if not geometry.aux_head:
        return 0
    return (geometry.patches if patches is None else patches) * geometry.width * geometry.classes
