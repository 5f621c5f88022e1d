"""Ways to run a block on images with different numbers of tokens, measured against each other."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import pad_sequence

from core.families.block import PreNorm
from core.latency.measure import device_name, interleaved
from core.results.timings import RaggedRow
from core.soft_tokens.packed import GROUPS, NO_PATCH, Packed, packed_block, plan_attention

Work = Callable[[], Sequence[Tensor]]
"""Runs the block; tokens (T, D) of each image, in their order."""
CASES = tuple(
    (name, width, heads, photos, mean, spread)
    for name, width, heads, photos, mean in (
        ("DeiT-S", 384, 6, 16, 100),
        ("DeiT-T", 192, 3, 16, 100),
        ("bundled", 128, 4, 16, 60),
        ("bundled", 128, 4, 128, 60),
    )
    for spread in (0.1, 0.3)
)
"""Name, width, heads, photos, mean tokens, standard deviation of these as a share of the mean."""


def ways(block: Block, tokens: Sequence[Tensor]) -> dict[str, Work]:
    """By their names, ways to run `block` on images of (T, D) tokens each, T of their own."""
    return {
        "pad all": partial(_padded, block, tokens, 1),
        f"pad in {GROUPS} groups": partial(_padded, block, tokens, GROUPS),
        "packed, attention on slices": _packed(block, tokens, 0),
        f"packed, attention in {GROUPS} groups": _packed(block, tokens, GROUPS),
        "nested, jagged": _nested(block, tokens, torch.jagged),
        "nested, strided": _nested(block, tokens, torch.strided),
    }


def compare_ragged(
    name: str, width: int, heads: int, photos: int, mean: int, spread: float, *, repeats: int, device: torch.device
) -> RaggedRow:
    """Each way's speed as a share of that of equal counts with the same sum, all taking turns.

    Making a packed or nested sequence of what a selector leaves is not timed: blocks follow on it, several of them.

    Args:
        name: For the report.
        width: D.
        heads: H.
        photos: Images per pass.
        mean: Tokens of an image, on average.
        spread: Standard deviation of these, as a share of `mean`.
        repeats: Timed passes of each.
        device: Where.
    """
    block = Block(width, heads, qkv_bias=True).eval().requires_grad_(False).to(device)
    draws = np.random.default_rng(0).normal(mean, spread * mean, photos).round().clip(2).astype(int).tolist()
    tokens = [torch.randn(count, width, device=device) for count in draws]
    equal = torch.randn(photos, round(sum(draws) / photos), width, device=device)
    works = ways(block, tokens)
    times = interleaved([partial(block, equal), *works.values()], repeats, device)
    whole, *each = np.median(times, axis=0).tolist()
    share = dict(zip(works, (whole / time for time in each), strict=True))
    return RaggedRow(name, photos, mean, spread, whole, share, repeats, device_name(device), torch.get_num_threads())


def _padded(block: Block, tokens: Sequence[Tensor], groups: int) -> Sequence[Tensor]:
    """Everything computes the padding too; images of similar length stand together."""
    order = sorted(range(len(tokens)), key=lambda image: len(tokens[image]))
    found: dict[int, Tensor] = {}
    for part in np.array_split(order, groups):
        counts = torch.tensor([len(tokens[image]) for image in part], device=tokens[0].device)
        x = pad_sequence([tokens[image] for image in part], batch_first=True)
        mask = (torch.arange(x.shape[1], device=x.device) < counts[:, None])[:, None, None, :]
        for image, out, count in zip(part, block(x, attn_mask=mask), counts.tolist(), strict=True):
            found[image] = out[:count]
    return [found[image] for image in range(len(tokens))]


def _packed(block: Block, tokens: Sequence[Tensor], groups: int) -> Work:
    """As our own models run it."""
    counts = tuple(map(len, tokens))
    x = torch.cat(list(tokens))
    packed = Packed(x, torch.full((len(x),), NO_PATCH, device=x.device), counts)
    plan = plan_attention(counts, x.device, groups)
    return lambda: packed_block(block, packed, plan).split(counts)


def _nested(block: PreNorm, tokens: Sequence[Tensor], layout: torch.layout) -> Work:
    """torch's own tensors of unequal rows; without a fused kernel of theirs on a CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are a prototype
        x = torch.nested.nested_tensor(list(tokens), layout=layout)
    return lambda: _nested_block(block, x, layout).unbind()


def _nested_block(block: PreNorm, x: Tensor, layout: torch.layout) -> Tensor:
    """timm's block; its own attention reads a shape that nested tensors do not have."""
    jagged, heads, images = layout == torch.jagged, block.attn.num_heads, x.size(0)
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    width = q.size(-1)

    def split(part: Tensor) -> Tensor:
        part = part.contiguous()
        if jagged:
            return part.unflatten(-1, (heads, -1)).transpose(1, 2)
        return part.view(images, -1, heads, width // heads).transpose(1, 2).contiguous()

    with sdpa_kernel(SDPBackend.MATH):  # left to choose, it looks for a GPU that a CPU has not
        mixed = functional.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2)
    mixed = mixed.flatten(2) if jagged else mixed.contiguous().view(images, -1, width)
    x = x + block.attn.proj(mixed)
    return x + block.mlp(block.norm2(x))
