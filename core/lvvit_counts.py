"""LV-ViT's shapes, and what its own parts cost: the convolutional stem and the auxiliary head; the rest is a flat ViT.

Jiang et al. 2021, arXiv:2104.10858, and the models that they released.
"""

from dataclasses import dataclass

from core.config import Geometry

FIRST_KERNEL, KERNEL = 7, 3
"""Sides of the stem's convolutions: one of stride 2, then two of stride 1."""
SHRINK = 2
"""What the stem divides the side of the image by, before patches are cut out of it."""
AUX_WEIGHT = 0.5
"""Of the auxiliary head's maximum over the patches, beside the class head's logits."""


@dataclass(frozen=True)
class LvvitGeometry(Geometry):
    """Shape of an LV-ViT: a flat ViT with a convolutional stem, shortened residual branches and an auxiliary head."""

    stem_channels: int = 64
    """Of each of the three convolutions before the patches are projected."""
    residual: float = 2.0
    """By which both residual branches of a block are divided."""
    qkv_bias: bool = False
    aux_head: bool = True
    """Whether every patch is classified too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem or self.prefix_tokens != 1 or self.distilled:
            raise ValueError(f"an LV-ViT has a stem of its own and one class token: {self}")
        if self.patch % SHRINK or self.stem_channels < 1 or not self.residual > 0:
            raise ValueError(f"the patch must be even, stem channels and residual divisor above 0: {self}")


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
