"""Ragged batches: the tokens of all images in one sequence, none of them padding, and blocks that run on it.

Everything but attention works token by token, so it runs on the sequence as it is. Attention runs image by image on
slices of the sequence, without a copy; on accelerators, where each launch costs, in a few groups of similar length,
padded within the group. Measured against other ways in assets/benchmarks.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from timm.layers import Attention
from torch import Tensor
from torch.nn import functional

from core.config import Packaging
from core.families.base import Alive
from core.families.block import PreNorm, fused, prenorm, project, put_back, queries_keys_values
from core.soft_tokens.context import context_of, image_of
from core.soft_tokens.decide import Decide
from core.soft_tokens.mixers import left_block, mixer_of
from core.soft_tokens.package import package_weights
from core.soft_tokens.ranking import AttentionRanking, Choosing, Look, look, ranked_scores
from core.soft_tokens.selector import Scores, selector_scores
from core.soft_tokens.stages import Pruned, on_grid, packages_left

NO_PATCH = -1
"""In place of a grid cell, for prefix tokens and packages."""
GROUPS = 4
"""On accelerators attention pads within each of this many groups of images."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Tokens of a batch, image after image; within one: prefix tokens, patches row by row, packages."""

    x: Tensor
    """(M, D)."""
    cell: Tensor
    """int (M,): the patch's place on the grids of all images, from 0 to B N - 1; `NO_PATCH` for other tokens."""
    counts: tuple[int, ...]
    """Tokens of each image, B of them."""


def pack(x: Tensor, prefix: int) -> Packed:
    """Tokens (B, T, D), prefix tokens first, as one sequence."""
    batch, tokens, _ = x.shape
    cell = torch.arange(batch * (tokens - prefix), device=x.device).unflatten(0, (batch, -1))
    return Packed(x.flatten(0, 1), functional.pad(cell, (prefix, 0), value=NO_PATCH).flatten(), (tokens,) * batch)


def first_tokens(packed: Packed, prefix: int) -> Tensor:
    """The prefix tokens of each image, (B, `prefix`, D)."""
    begins = torch.tensor((0, *packed.counts[:-1]), device=packed.x.device).cumsum(0)
    return packed.x[begins[:, None] + torch.arange(prefix, device=packed.x.device)]


def left(packed: Packed, prefix: int, patches: int, done: Sequence[Pruned]) -> Alive:
    """What is left of the `patches` that each image had, behind all selectors."""
    own = packed.cell >= 0
    counts = torch.bincount(image_of(packed.counts, own.device)[own], minlength=len(packed.counts))
    begins = torch.tensor((0, *packed.counts[:-1]), device=own.device).cumsum(0)
    other = ~own
    other[begins[:, None] + torch.arange(prefix, device=own.device)] = False
    packages, stands = packages_left(done, patches, packed.x[other])
    return Alive(packed.x[own], tuple(counts.tolist()), packages, stands)


def look_by_image(packed: Packed, looking: Look | None) -> Tensor:
    """How much the answer looks at each token, (M,), image by image; see `ranking.look`."""
    return torch.cat([look(looking, part[None])[0] for part in packed.x.split(packed.counts)])


def choose(
    packed: Packed,
    patches: int,
    prefix: int,
    selector: Choosing,
    decide: Decide,
    index: int,
    looked: Callable[[Packed], Tensor],
) -> tuple[Tensor, Scores, Tensor, Tensor]:
    """What one selector thinks, and what is decided; `looked`: how much the answer looks at each token, (M,).

    Returns:
        Rows of the patches, (m,); their scores; alive and kept, bool (B, N).
    """
    batch = len(packed.counts)
    rows = (packed.cell >= 0).nonzero()[:, 0]  # of the patches
    cell = packed.cell[rows]

    if isinstance(selector, AttentionRanking):
        scores = shown = ranked_scores(looked(packed)[rows])
    else:
        everything = selector_scores(selector, packed.x, context_of(packed.counts, prefix, packed.x.device))
        scores = shown = everything.map(lambda score: score[rows])
        if getattr(decide, "looks", False):
            shown = replace(scores, attention=looked(packed)[rows])
    shown = shown.map(lambda score: on_grid(score, cell, batch, patches))
    alive = torch.zeros(batch * patches, dtype=torch.bool, device=cell.device).index_fill_(0, cell, True)
    alive = alive.unflatten(0, (batch, patches))
    return rows, scores, alive, decide(index, shown, alive)


def prune(
    packed: Packed,
    patches: int,
    prefix: int,
    selector: Choosing,
    decide: Decide,
    index: int,
    packaging: Packaging,
    looking: Look | None,
) -> tuple[Packed, Pruned]:
    """One selector's work: score, decide, fold what leaves into packages; `looking`: see `ranking.look`."""
    looked = partial(look_by_image, looking=looking)
    rows, scores, alive, kept = choose(packed, patches, prefix, selector, decide, index, looked)
    cell = packed.cell[rows]
    keep_prob = on_grid(scores.keep_prob, cell, len(packed.counts), patches, 0.0)
    weight, exists = package_weights(keep_prob, (alive & ~kept).float(), packaging)
    kept, weight = kept.flatten()[cell], weight.flatten()[cell]
    packages = weighted_sums(packed, rows, weight.to(packed.x.dtype))
    done = Pruned(cell, scores, kept, weight, exists, tuple(count - prefix for count in packed.counts))
    return replace_tokens(packed, rows, kept, packages, exists), done


def replace_tokens(packed: Packed, rows: Tensor, kept: Tensor, packages: Tensor, exists: Tensor) -> Packed:
    """What is left when patches leave.

    Args:
        packed: Before.
        rows: Of its patches, and of others that may leave, (m,).
        kept: bool (m,).
        packages: (B, D); one goes behind the tokens of each image that has one.
        exists: bool (B,).
    """
    stays = torch.ones_like(packed.cell, dtype=torch.bool).index_copy_(0, rows, kept)
    stay, new = stays.nonzero()[:, 0], exists.nonzero()[:, 0]
    x, cell = packed.x[stay], packed.cell[stay]
    image = image_of(packed.counts, stay.device)[stay]
    if len(new):
        x, cell = torch.cat((x, packages[new])), functional.pad(cell, (0, len(new)), value=NO_PATCH)
        image, order = torch.cat((image, new)).sort(stable=True)  # a new package sorts behind its image's tokens
        x, cell = x[order], cell[order]
    return Packed(x, cell, tuple(torch.bincount(image, minlength=len(packed.counts)).tolist()))


def weighted_sums(packed: Packed, rows: Tensor, weight: Tensor) -> Tensor:
    """Per image the sum of its patches, each times its weight (m,); (B, D)."""
    share = packed.x.new_zeros(len(packed.x)).index_copy_(0, rows, weight)
    counts = list(packed.counts)
    return torch.stack([w @ tokens for w, tokens in zip(share.split(counts), packed.x.split(counts), strict=True)])


@dataclass(frozen=True, eq=False)
class Plan:
    """How attention is to run over a packed sequence; the same for all blocks between two selectors."""

    tokens: int | None
    """Tokens of every image where all have as many, else None."""
    counts: tuple[int, ...]
    """Tokens of each image."""
    groups: tuple[tuple[Tensor, Tensor | None, Tensor, Tensor | None], ...] = ()
    """Empty where images are slices. Per group of images: rows of the sequence (b, T) with padding, key mask bool
    (b, 1, 1, T) or None, rows that are no padding (m,), and their places among the b T results, or None for all."""


def plan_attention(lengths: Sequence[int], device: torch.device, groups: int | None = None) -> Plan:
    """How to keep images apart: as slices of the sequence, or in groups of similar length.

    Args:
        lengths: Tokens of each image, B of them.
        device: Of the tokens.
        groups: At most this many, 0 for slices; None: 0 on a CPU, `GROUPS` elsewhere.
    """
    groups = (0 if device.type == "cpu" else GROUPS) if groups is None else groups
    if min(lengths) == max(lengths):
        return Plan(lengths[0], tuple(lengths))
    if groups == 0:
        return Plan(None, tuple(lengths))
    counts = torch.tensor(lengths, device=device)
    begins = counts.cumsum(0) - counts
    found = tuple(_group(counts[some], begins[some]) for some in counts.argsort().chunk(groups))
    return Plan(None, tuple(lengths), found)


def _group(counts: Tensor, begins: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    step = torch.arange(int(counts.max()), device=counts.device)
    real = step < counts[:, None]  # (b, T)
    rows = begins[:, None] + torch.where(real, step, 0)  # padding repeats the first token
    if bool(real.all()):
        return rows, None, rows.flatten(), None
    places = real.flatten().nonzero()[:, 0]
    return rows, real[:, None, None, :], rows.flatten()[places], places


def packed_block(block: PreNorm, packed: Packed, plan: Plan) -> Tensor:
    """timm's pre-norm block at inference on a packed sequence; (M, D)."""
    x = packed.x
    if mixer_of(block) != "msa":
        return left_block(block, x, (packed.cell >= 0).nonzero()[:, 0])
    if plan.tokens is not None:
        return block(x.unflatten(0, (-1, plan.tokens))).flatten(0, 1)
    return prenorm(block, x, partial(packed_attention, block.attn, plan=plan), in_place=True)


def packed_attention(attn: Attention, x: Tensor, plan: Plan) -> Tensor:
    """Attention at inference, within each image of a packed sequence, (M, D) in and out."""
    projected = project(attn, x)  # (M, 3, H, d)
    return put_back(
        attn, _in_groups(attn, projected, plan) if plan.groups else _in_slices(attn, projected, plan.counts)
    )


def _in_slices(attn: Attention, projected: Tensor, counts: Sequence[int]) -> Tensor:
    """Attention image by image; (H, M, d)."""
    parts = (part.split(counts, dim=2) for part in queries_keys_values(attn, projected[None]))  # (1, H, T, d) each
    mixed = [fused(q, k, v, attn.scale).transpose(1, 2) for q, k, v in zip(*parts, strict=True)]  # (1, T, H, d)
    return torch.cat(mixed, dim=1)[0].transpose(0, 1)


def _in_groups(attn: Attention, projected: Tensor, plan: Plan) -> Tensor:
    """Attention group by group, each padded to its longest image; (H, M, d)."""
    mixed = projected.new_empty(len(projected), attn.num_heads, attn.head_dim)
    for rows, mask, into, places in plan.groups:
        q, k, v = queries_keys_values(attn, projected[rows])  # (b, H, T, d) each
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.transpose(1, 2).flatten(0, 1)  # (b T, H, d)
        mixed[into] = out if places is None else out[places]
    return mixed.transpose(0, 1)
