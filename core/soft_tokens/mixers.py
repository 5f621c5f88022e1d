"""Blocks that single-path pruning has changed, behind a selector: what is left of an attention when tokens have left.

A 3x3 convolution needs its neighbours, so selectors stand only behind the last block with one. A 1x1 convolution and a
missing mixer work token by token. Packages get from a convolution what prefix tokens get: nothing, or their input where
the convolution `passes`. So the convolution still sees patches and nothing else, as in the model that it was found in.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import InputError
from core.families.base import Backbone
from core.families.block import PreNorm, prenorm
from core.families.families import blocks_of, token_family
from core.results import Mixer
from core.single_path.compact import ConvMixer, NoMixer
from core.soft_tokens.ranking import Look


def mixer_of(block: PreNorm) -> Mixer:
    """What mixes the tokens of this block."""
    if isinstance(block.attn, NoMixer):
        return "skip"
    if isinstance(block.attn, ConvMixer):
        return "conv3x3" if block.attn.reduce.kernel_size[0] == 3 else "conv1x1"
    return "msa"


def first_place(mixers: Sequence[Mixer]) -> int:
    """The first block that a selector may stand before: the second, and none up to the last 3x3 convolution."""
    return max(1, len(mixers) - next((i for i, m in enumerate(reversed(mixers)) if m == "conv3x3"), len(mixers)))


def check_places(blocks: Sequence[int], mixers: Sequence[Mixer]) -> None:
    """Refuse places where no selector can stand.

    Args:
        blocks: A selector is to stand before each of these.
        mixers: Per block, L of them.

    Raises:
        InputError: If they do not rise, lie outside the model, or a 3x3 convolution is left behind the first.
    """
    depth, first = len(mixers), first_place(mixers)
    if first >= depth:
        raise InputError(
            f"Block {depth - 1}, the last, is a 3x3 convolution, which needs the whole grid, so no selector can stand "
            "in this model; derive it for another budget."
        )
    if not blocks or list(blocks) != sorted(set(blocks)) or blocks[0] < first or blocks[-1] >= depth:
        why = "" if first == 1 else " behind the last 3x3 convolution, which needs the whole grid:"
        raise InputError(
            f"Selectors stand{why} before blocks {first} to {depth - 1} (counting from 0), rising; not {list(blocks)}."
        )


def spread(mixers: Sequence[Mixer], count: int) -> tuple[int, ...]:
    """Usual places of `count` selectors: evenly from a quarter of the depth on, or from behind the last 3x3.

    None behind the last attention, from which it would have to learn. In 12 attentions these are, for three selectors,
    the release's 3, 6 and 9.

    Raises:
        InputError: If so many have no room.
    """
    first = max(first_place(mixers), len(mixers) // 4)
    end = max((index + 1 for index, mixer in enumerate(mixers) if mixer == "msa"), default=len(mixers))
    room = max(0, end - first)
    if count > room:
        raise InputError(
            f"There is room for {room} selectors between the last 3x3 convolution and the last attention, not for "
            f"{count}; give fewer --targets, or their places as --selectors."
        )
    return tuple(first + index * room // count for index in range(count))


def mix_patches(conv: ConvMixer, x: Tensor, rows: slice | Tensor) -> Tensor:
    """A 1x1 convolution over what is left of the patches.

    Args:
        conv: Of side 1.
        x: Normalised tokens, (..., T, D).
        rows: Which of the T are patches: a slice, or their numbers.

    Returns:
        Like `x`: for other tokens nothing, or their input where `conv` passes.
    """
    out = x.clone() if conv.passes else torch.zeros_like(x)
    hidden = functional.relu(_pointwise(conv.reduce, x[..., rows, :]))
    out[..., rows, :] = _pointwise(conv.expand, hidden).to(out.dtype)
    return out


def left_block(block: PreNorm, x: Tensor, rows: slice | Tensor) -> Tensor:
    """timm's pre-norm block at inference on tokens (..., T, D) of which `rows` are the patches that are left.

    Not for an attention on a packed batch, which must not look from one image into another.
    """
    if not isinstance(block.attn, ConvMixer):
        return block(x)
    return prenorm(block, x, partial(mix_patches, block.attn, rows=rows))


def nearest_attention(backbone: Backbone, index: int) -> PreNorm | None:
    """The block whose attention tells what the answer looks at before block `index`.

    That block itself; where it has none any more, the next one that has, and else the last one before.
    """
    blocks = blocks_of(backbone)
    having = [i for i, block in enumerate(blocks) if mixer_of(block) == "msa"]
    ahead = [i for i in having if i >= index]
    return blocks[(ahead or having[-1:])[0]] if having else None


def nearest_look(backbone: Backbone, index: int) -> Look | None:
    """How much the answer looks at each token before block `index`; None: no attention is left to tell."""
    block = nearest_attention(backbone, index)
    return None if block is None else partial(token_family(backbone).attended, block)


def _pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of side 1 as a product, (..., c) to (..., c')."""
    return functional.linear(x, conv.weight[:, :, 0, 0], conv.bias)
