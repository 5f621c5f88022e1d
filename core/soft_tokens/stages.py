"""What a run through selectors leaves behind: one record per stage, on the original grid, and what it cost."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from core.config import Geometry
from core.macs import count_macs
from core.results import MacCount
from core.soft_tokens.selector import Scores


@dataclass(frozen=True, eq=False)
class Stage:
    """One selector's work on a batch; everything is laid out on the original grid of N patches."""

    kept: Tensor
    """bool (B, N): still a token of its own after this stage."""
    keep_prob: Tensor
    """(B, N); NaN where the patch had left before."""
    package_weight: Tensor
    """(B, N): share of each patch in the package folded here; 0 elsewhere."""
    has_package: Tensor
    """bool (B,)."""
    seen: Tensor
    """int (B,): patches and packages that the selector looked at."""
    patches: Tensor
    """int (B,): those of them that are patches."""
    scores: Scores | None = None
    """The selector's scores on all N patches, for training losses; None at inference."""
    per_head: Tensor | None = None
    """(B, N, H): keep probability of each head, NaN where the patch had left before; None in training."""
    importance: Tensor | None = None
    """(B, N, H), in (0, 1): weight of each head for the patch, NaN likewise; None in training."""


def tokens_per_block(geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage]) -> Tensor:
    """Tokens of each image in each block, int (B, L): prefix, patches alive and packages."""
    batch = len(stages[0].kept)
    tokens = torch.full((batch, geometry.depth), geometry.patches + geometry.prefix_tokens, dtype=torch.long)
    packages = torch.zeros(batch, dtype=torch.long)
    for block, stage in zip(blocks, stages, strict=True):
        packages = packages + stage.has_package.cpu()
        tokens[:, block:] = (geometry.prefix_tokens + stage.kept.sum(1).cpu() + packages)[:, None]
    return tokens


@lru_cache(maxsize=65536)
def _cached_macs(geometry: Geometry, tokens: tuple[int, ...], selectors: tuple[tuple[int, int], ...]) -> MacCount:
    return count_macs(geometry, tokens=tokens, selectors=selectors)


def image_macs(geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage]) -> list[MacCount]:
    """MACs of each image of the batch: of what that image kept, not of an average."""
    tokens = tokens_per_block(geometry, blocks, stages).tolist()
    seen = torch.stack([stage.seen for stage in stages], dim=1).tolist()
    patches = torch.stack([stage.patches for stage in stages], dim=1).tolist()
    return [
        _cached_macs(geometry, tuple(t), tuple(zip(s, p, strict=True)))
        for t, s, p in zip(tokens, seen, patches, strict=True)
    ]
