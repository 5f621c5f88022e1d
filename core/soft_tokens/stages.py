"""What a run through selectors leaves behind: one record per stage, on the original grid, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from core.costs.geometry import Geometry
from core.costs.grids import dense_tokens, end_of_grid, patches_left, pools
from core.costs.macs import count_macs
from core.costs.windows import Pairs, image_pairs
from core.results import DENSE_LAYERS, Layers, MacCount
from core.soft_tokens.selector import Scores


@dataclass(frozen=True, eq=False)
class Stage:
    """One selector's work on a batch; everything is laid out on its grid of N patches, a flat family's only one."""

    kept: Tensor
    """bool (B, N): still a token of its own after this stage."""
    keep_prob: Tensor
    """(B, N); NaN where the patch had left before."""
    package_weight: Tensor
    """(B, N): share of each patch in the package folded here; 0 elsewhere."""
    has_package: Tensor
    """bool (B,): in a flat family a package was folded here; in one that pools the image's one package is there."""
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

    @property
    def margin(self) -> Tensor:
        """(B, N): how far the scores are on the side of keeping; in training."""
        assert self.scores is not None
        return self.scores.margin


@dataclass(frozen=True, eq=False)
class Pruned:
    """What one selector did, patch by patch as they lay in the sequence: m patches of all images together."""

    cell: Tensor
    """int (m,): the patch's place on the grids of all images, from 0 to B N - 1."""
    scores: Scores
    """(m,) in place of (B, N)."""
    kept: Tensor
    """bool (m,)."""
    weight: Tensor
    """(m,): each one's share of its image's package."""
    has_package: Tensor
    """bool (B,)."""
    seen: tuple[int, ...]
    """Per image, patches and packages that the selector looked at."""


def packages_left(done: Sequence[Pruned], patches: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The packages that several selectors of a flat model have left, and how many patches each stands for.

    Args:
        done: What each did, S of them.
        patches: N of the grid.
        rows: The packages, image after image, in one image as they came, (p, D).

    Returns:
        (B, S, D), 0 where there is none; and (B, S).
    """
    exists = torch.stack([one.has_package for one in done], dim=1)
    gone = [torch.bincount((one.cell // patches)[~one.kept], minlength=len(exists)) for one in done]
    packages = rows.new_zeros(*exists.shape, rows.shape[1])
    packages[exists] = rows
    return packages, torch.stack(gone, dim=1) * exists


def lay_out(done: Pruned, patches: int) -> Stage:
    """The same on the grid of N = `patches` patches of each image."""
    grid = partial(on_grid, cell=done.cell, batch=len(done.seen), patches=patches)
    keep_prob = grid(done.scores.keep_prob)
    return Stage(
        kept=grid(done.kept, empty=False),
        keep_prob=keep_prob,
        package_weight=grid(done.weight, empty=0.0),
        has_package=done.has_package,
        seen=torch.tensor(done.seen),
        patches=(~keep_prob.isnan()).sum(dim=1),
        per_head=grid(done.scores.per_head),
        importance=grid(done.scores.importance),
    )


def on_grid(value: Tensor, cell: Tensor, batch: int, patches: int, empty: float = torch.nan) -> Tensor:
    """(m, ...) to (B, N, ...), `empty` where no patch is left."""
    whole = value.new_full((batch * patches, *value.shape[1:]), empty)
    return whole.index_copy_(0, cell, value).unflatten(0, (batch, patches))


def tokens_per_block(geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage]) -> Tensor:
    """Tokens of each image in each block, int (B, L): prefix, patches alive and packages."""
    batch, dense = len(stages[0].kept), torch.tensor(dense_tokens(geometry))
    tokens = dense.repeat(batch, 1)
    packages = torch.zeros(batch, dtype=torch.long)
    for block, stage in zip(blocks, stages, strict=True):
        packages = stage.has_package.cpu().long() + (0 if pools(geometry) else packages)
        end = end_of_grid(geometry, block)
        tokens[:, block:end] = (geometry.prefix_tokens + stage.kept.sum(1).cpu() + packages)[:, None]
        tokens[:, end:] = dense[end:] + packages[:, None]
    return tokens


def patches_per_block(geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage]) -> Tensor:
    """Patches of each image that are tokens of their own in each block, int (B, L)."""
    kept = torch.stack([stage.kept.sum(1).cpu() for stage in stages], dim=1).tolist()
    return torch.tensor([patches_left(geometry, blocks, counts) for counts in kept])


@lru_cache(maxsize=65536)
def pruned_macs(
    geometry: Geometry,
    tokens: tuple[int, ...],
    patches: tuple[int, ...],
    selectors: tuple[tuple[int, int], ...],
    layers: Layers,
    blocks: tuple[int, ...],
    pairs: Pairs | None = None,
) -> MacCount:
    """MACs of one image of which this much is left.

    Args:
        geometry: The dense model.
        tokens: In each block, L of them.
        patches: That are tokens of their own in each block, L of them.
        selectors: For each, how many tokens it looked at, and how many of them were patches.
        layers: What the blocks are, where single-path pruning has changed them.
        blocks: Before which the selectors stand.
        pairs: In windows, who attends to whom.
    """
    return count_macs(
        geometry,
        tokens=tokens,
        patches=patches,
        selectors=selectors,
        blocks=blocks,
        mixers=layers.mixers,
        ffn_hidden=layers.ffn_hidden,
        ranked=layers.ranked,
        pairs=pairs,
    )


def image_macs(
    geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage], layers: Layers = DENSE_LAYERS
) -> list[MacCount]:
    """MACs of each image of the batch: of what that image kept, not of an average; `layers` says what blocks are."""
    tokens = tokens_per_block(geometry, blocks, stages).tolist()
    left = patches_per_block(geometry, blocks, stages).tolist()
    seen = torch.stack([stage.seen for stage in stages], dim=1).tolist()
    patches = torch.stack([stage.patches for stage in stages], dim=1).tolist()
    return [
        pruned_macs(geometry, tuple(t), tuple(n), tuple(zip(s, p, strict=True)), layers, blocks, q)
        for t, n, s, p, q in zip(tokens, left, seen, patches, _pairs(geometry, blocks, stages), strict=True)
    ]


def _pairs(geometry: Geometry, blocks: tuple[int, ...], stages: list[Stage]) -> Sequence[Pairs | None]:
    """Who attends to whom in each image; None: there are no windows."""
    windows = geometry.windows()
    if not windows:
        return [None] * len(stages[0].kept)
    kept = [stage.kept.cpu().numpy() for stage in stages]
    return image_pairs(windows, blocks, kept, [stage.has_package.cpu().numpy() for stage in stages])
