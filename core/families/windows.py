"""Attention in windows that have lost cells, and the package in it; both as removed and as masked.

Each patch attends to the kept patches of its window, with the bias of their relative positions, and to the package,
which is a global token: its bias is 0. The package sits in every window and is updated once: it attends to all kept
patches of the image and to itself, again without a bias. That is what its answers in the single windows give if each is
weighed by the sum of the exponentiated scores there, so it does not depend on how windows lie. In shifted windows at
the edges only cells that are neighbours on the photo attend to each other, as in the dense model.

Sources: Liu et al. 2021, arXiv:2103.14030, windows, shifts and biases; Kong et al. 2022, arXiv:2112.13890, packages;
how the two go together is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor
from torch.nn import functional

from core.costs.windows import Windows, cells_of
from core.families.block import scores


def windows_of(block: Any) -> Windows:
    """How a block of timm's parts its grid; windows fill it."""
    return Windows(tuple(block.input_resolution), block.window_size[0], block.shift_size[0])


class Lying(NamedTuple):
    """Where the N cells of a grid lie, as `core.costs.windows.Cells` has it."""

    part: Tensor
    """int (N,)."""
    place: Tensor
    """int (N,)."""
    order: Tensor
    """int (N,): the cells window by window, M^2 of each."""
    apart: Tensor
    """bool (W, M^2, M^2): the two cells of a window are in different parts of it."""


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # it is used in training, too
def lying(windows: Windows, device: torch.device) -> Lying:
    """Where the cells lie."""
    cells = cells_of(windows)
    part, place = (torch.from_numpy(each).to(device) for each in (cells.part, cells.place))
    rows, cols = windows.grid
    at = torch.arange(rows * cols, device=device)
    row, col = (at // cols - windows.shift) % rows, (at % cols - windows.shift) % cols
    window = row // windows.side * (cols // windows.side) + col // windows.side
    order = (window * windows.side**2 + place).argsort()
    inside = part[order].unflatten(0, (-1, windows.side**2))  # (W, M^2)
    return Lying(part, place, order, inside[:, :, None] != inside[:, None, :])


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of windows with as many tokens each, P of them."""

    rows: Tensor
    """int (P, n): their tokens in the sequence."""
    keys: Tensor
    """int (P, K): these, and the package of the image where it has one."""
    bias: Tensor
    """int (P, n, K): of each pair, the row of `biases`."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How attention in windows is to run over a packed sequence."""

    parts: tuple[Parts, ...]
    images: tuple[tuple[int, int], ...]
    """First token and number of tokens of each image that has a package, its last."""
    even: bool
    """Every image has a package, and they all have as many tokens."""


def plan_windows(block: Any, cell: Tensor, counts: Sequence[int], package: Tensor) -> Plan:
    """Group what windows kept by how many tokens that is.

    Args:
        block: Of timm's, or another of its stage with the same shift.
        cell: int (M,): each patch's place on the grids of all images, from 0 to B N - 1; below 0 for a package.
        counts: Tokens of each image, B of them: patches, and last its package.
        package: bool (B,): whether it has one.
    """
    where = lying(windows_of(block), cell.device)
    patches, parts = len(where.part), int(where.part.max()) + 1
    row = (cell >= 0).nonzero()[:, 0]
    image, at = cell[row] // patches, cell[row] % patches
    key, order = (image * parts + where.part[at]).sort(stable=True)
    row, place, image = row[order], where.place[at[order]], image[order]
    _, size = key.unique_consecutive(return_counts=True)
    begin = size.cumsum(0) - size
    ends = torch.tensor(counts, device=cell.device).cumsum(0)
    zero = len(block.attn.relative_position_bias_table)  # the row of `biases` that is 0
    found = []
    has = package[image[begin]] if len(begin) else begin.bool()
    for many in size.unique().tolist():
        for there in (False, True):
            some = begin[(size == many) & (has == there)]
            if not len(some):
                continue
            rows = row[some[:, None] + torch.arange(many, device=cell.device)]  # (P, n)
            places = place[some[:, None] + torch.arange(many, device=cell.device)]
            bias = block.attn.relative_position_index[places[:, :, None], places[:, None, :]]  # (P, n, n)
            keys = rows
            if there:
                keys = torch.cat((rows, ends[image[some]][:, None] - 1), dim=1)
                bias = functional.pad(bias, (0, 1), value=zero)
            found.append(Parts(rows, keys, bias))
    begins = (ends - torch.tensor(counts, device=cell.device)).tolist()
    images = tuple((b, c) for b, c, p in zip(begins, counts, package.tolist(), strict=True) if p)
    return Plan(tuple(found), images, len(images) == len(counts) and len(set(counts)) == 1)


def biases(attn: WindowAttention) -> Tensor:
    """The relative position biases ((2 M - 1)^2 + 1, H): a last row, of 0, is that of the package."""
    return functional.pad(attn.relative_position_bias_table, (0, 0, 0, 1))


def parted_attention(attn: WindowAttention, x: Tensor, plan: Plan) -> Tensor:
    """Attention at inference over a packed sequence of normalised tokens, (M, D) in and out."""
    q, k, v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).unbind(1)  # (M, H, d) each
    table, mixed = biases(attn).to(q.dtype), torch.empty_like(q)
    for part in plan.parts:
        queries, keys, values = (_heads(each[rows]) for each, rows in ((q, part.rows), (k, part.keys), (v, part.keys)))
        bias = table[part.bias].permute(0, 3, 1, 2)  # (P, H, n, K)
        out = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        mixed[part.rows] = out.transpose(1, 2)  # (P, n, H, d)
    for rows, queries, keys, values in _package_looks(q, k, v, plan):
        mixed[rows] = functional.scaled_dot_product_attention(queries, keys, values)[:, :, 0]
    return attn.proj(mixed.flatten(1))


def parted_look(attn: WindowAttention, x: Tensor, plan: Plan, counts: Sequence[int]) -> Tensor:
    """How much the tokens of an image look at each of them together, (M,), the sum over each image 1.

    Mean over heads and over all tokens of the image as queries.

    Args:
        attn: Its weights.
        x: Normalised tokens, (M, D).
        plan: See `plan_windows`.
        counts: Tokens of each image.
    """
    q, k = _queries_keys(attn, x)  # (M, H, d) each
    table, seen = biases(attn), x.new_zeros(len(x), dtype=torch.float32)
    for part in plan.parts:
        found = scores(_heads(q[part.rows]), _heads(k[part.keys]), attn.scale) + table[part.bias].permute(0, 3, 1, 2)
        received = found.float().softmax(dim=-1).mean(dim=1).sum(dim=1)  # (P, K)
        seen.index_add_(0, part.keys.flatten(), received.flatten())
    for rows, queries, keys, _ in _package_looks(q, k, k, plan):
        look = scores(queries, keys, attn.scale).float().softmax(dim=-1).mean(dim=1)[:, 0]  # (b, T)
        tokens = rows[:, None] + torch.arange(1 - look.shape[1], 1, device=x.device)
        seen.index_add_(0, tokens.flatten(), look.flatten())
    many = torch.tensor(counts, device=x.device)
    return seen / many.repeat_interleave(many)


def _queries_keys(attn: WindowAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """(..., H, d) each, without the values."""
    rows = 2 * attn.dim
    projected = functional.linear(x, attn.qkv.weight[:rows], None if attn.qkv.bias is None else attn.qkv.bias[:rows])
    q, k = projected.unflatten(-1, (2, attn.num_heads, -1)).unbind(-3)
    return q, k


def _heads(tokens: Tensor) -> Tensor:
    """(P, n, H, d) to (P, H, n, d)."""
    return tokens.transpose(1, 2)


def _package_looks(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Packages of one or several images, and what they attend to.

    Yields:
        Rows of the packages in the sequence (b,), their queries (b, H, 1, d), keys and values of all tokens of their
        images (b, H, T, d).
    """
    if not plan.images:
        return
    if plan.even:
        tokens = plan.images[0][1]
        groups = [(slice(None), tokens)]
    else:
        groups = [(slice(begin, begin + count), count) for begin, count in plan.images]
    for some, count in groups:
        queries, keys, values = (each[some].unflatten(0, (-1, count)).transpose(1, 2) for each in (q, k, v))
        rows = torch.arange(len(q), device=q.device)[some].unflatten(0, (-1, count))[:, -1]
        yield rows, queries[:, :, -1:], keys, values


def window_scores(block: Any, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of all tokens of a batch from which nothing is removed.

    Args:
        block: Of timm's.
        q: Queries of N patches and a package, or of N patches, (B, H, T, d).
        k: Their keys, likewise.

    Returns:
        Of each patch, window by window, on those of its window and last on the package, (B, H, W, M^2, M^2 + 1), or
        without the last; and of the package on all tokens, (B, H, 1, T), or on none, (B, H, 0, T).
    """
    attn, where = block.attn, lying(windows_of(block), q.device)
    cells, area = len(where.part), attn.window_area
    queries, keys = (each[:, :, where.order].unflatten(2, (-1, area)) for each in (q, k))  # (B, H, W, M^2, d)
    found = scores(queries, keys, attn.scale) + _bias(attn)[:, None]  # (B, H, W, M^2, M^2)
    package = k[:, :, cells:]  # (B, H, 1 or 0, d)
    found = torch.cat((found, scores(queries, package[:, :, None], attn.scale)), dim=-1)
    return found, scores(q[:, :, cells:], k, attn.scale)


def window_keys(block: Any, policy: Tensor) -> Tensor:
    """How often each key counts in `window_scores`, (B, 1, W, M^2, M^2 + 1), or without the last.

    Args:
        block: Of timm's.
        policy: How often a token counts, 1 or 0, (B, T).
    """
    where = lying(windows_of(block), policy.device)
    cells, area = len(where.part), block.attn.window_area
    own = policy[:, where.order].unflatten(1, (-1, 1, area)) * ~where.apart  # (B, W, M^2, M^2)
    package = policy[:, None, None, cells:].expand(*own.shape[:-1], -1)
    return torch.cat((own, package), dim=-1)[:, None]


def window_values(block: Any, v: Tensor) -> Tensor:
    """Values of patches and package (B, H, N + 1, d) as `window_scores` weighs them, (B, H, W, M^2 + 1, d)."""
    order, area = lying(windows_of(block), v.device).order, block.attn.window_area
    own = v[:, :, order].unflatten(2, (-1, area))
    package = v[:, :, None, len(order) :].expand(-1, -1, own.shape[2], -1, -1)
    return torch.cat((own, package), dim=-2)


def out_of_windows(block: Any, windowed: Tensor, package: Tensor) -> Tensor:
    """What windows hold, (B, ..., W, M^2, c), as patches row by row; the package, (B, ..., 1 or 0, c), behind them."""
    order = lying(windows_of(block), windowed.device).order
    patches = windowed.flatten(-3, -2).index_select(-2, order.argsort())
    return torch.cat((patches, package), dim=-2)


def masked_look(block: Any, x: Tensor, policy: Tensor | None) -> Tensor:
    """What `parted_look` gives of normalised tokens (B, T, D) from which nothing is removed, (B, T).

    Args:
        block: Of timm's.
        x: Patches, and a package behind them or none.
        policy: (B, T), 1 for tokens that are there and 0 for those that have left; None: all are.
    """
    q, k = (_heads(each) for each in _queries_keys(block.attn, x))  # (B, H, T, d)
    policy = x.new_ones(x.shape[:2]) if policy is None else policy
    found, of_package = window_scores(block, q, k)
    look = _masked_softmax(found, window_keys(block, policy)).mean(dim=1)  # (B, W, M^2, K)
    order = lying(windows_of(block), x.device).order
    cells, area = len(order), block.attn.window_area
    received = (policy[:, order].unflatten(1, (-1, area))[..., None] * look).sum(dim=2)  # (B, W, K)
    last = received[..., area:].sum(dim=1)  # (B, 1 or 0)
    total = out_of_windows(block, received[..., :area, None], last[..., None])[..., 0]  # (B, T)
    package = _masked_softmax(of_package, policy[:, None, None]).mean(dim=1)  # (B, 1 or 0, T)
    total = total + (policy[:, cells:, None] * package).sum(dim=1)
    return total / policy.sum(dim=1, keepdim=True)


def _masked_softmax(found: Tensor, keys: Tensor) -> Tensor:
    return found.float().masked_fill(keys == 0, -torch.inf).softmax(dim=-1).nan_to_num()


def _bias(attn: WindowAttention) -> Tensor:
    """Biases between the cells of a window, (H, M^2, M^2)."""
    return attn.relative_position_bias_table[attn.relative_position_index].permute(2, 0, 1)
