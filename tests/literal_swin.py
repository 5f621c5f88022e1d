"""A slow evaluation of a released Swin: the formulas, position by position, with no code of ours.

Semantics of the release of He et al. (arXiv:2111.11802): the centre of a kernel is stored first, then the other eight
offsets, down the columns; a block without a mixer adds its normalised input in a fine-tuned file and nothing in a
searched one; a searched file convolves within each shifted window (zeros around it, no mask), a fine-tuned one over the
whole map. Stages, windows and merging follow Liu et al. (arXiv:2103.14030).
"""

import math

import numpy as np

from tests.literal import Weights, gelu, norm_and_relu

OFFSETS = [(0, 0), (-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]
"""Row and column that each stored offset looks at."""


def layer_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    """Over the last axis, eps 1e-5."""
    middle = x - x.mean(axis=-1, keepdims=True)
    spread = (middle**2).mean(axis=-1, keepdims=True)
    return middle / np.sqrt(spread + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(x: np.ndarray, w: Weights, window: int, shift: int) -> np.ndarray:
    """Of a map (h, w, D): each patch with those of its shifted window that are its neighbours before the roll."""
    height, width, dim = x.shape
    heads = w["attn.relative_position_bias_table"].shape[1]
    d = dim // heads
    qk = x @ w["attn.qk.weight"].T + w["attn.qk.bias"]
    v = x @ w["attn.v.weight"].T + w["attn.v.bias"]
    out = np.zeros_like(x)

    def place(at: int, size: int) -> tuple[int, bool]:
        """Where a row or column stands after the roll, and whether the roll carried it over the edge."""
        return (at - shift) % size, at < shift

    for row in range(height):
        for column in range(width):
            (r, over_r), (c, over_c) = place(row, height), place(column, width)
            inside = []
            for other_row in range(height):
                for other_column in range(width):
                    (r2, over_r2), (c2, over_c2) = place(other_row, height), place(other_column, width)
                    together = r // window == r2 // window and c // window == c2 // window
                    if together and (over_r, over_c) == (over_r2, over_c2):
                        bias = (r - r2 + window - 1) * (2 * window - 1) + (c - c2 + window - 1)
                        inside.append((other_row, other_column, bias))
            for h in range(heads):
                rows = slice(h * d, (h + 1) * d)
                query = qk[row, column, rows] / math.sqrt(d)
                scores = np.array(
                    [
                        query @ qk[a, b, dim + h * d : dim + (h + 1) * d] + w["attn.relative_position_bias_table"][i, h]
                        for a, b, i in inside
                    ]
                )
                share = np.exp(scores - scores.max())
                share /= share.sum()
                out[row, column, rows] = sum(p * v[a, b, rows] for p, (a, b, _) in zip(share, inside, strict=True))
    return out @ w["attn.proj.weight"].T + w["attn.proj.bias"]


def convolution(x: np.ndarray, w: Weights, wide: bool) -> np.ndarray:
    """From the heads, over a map or a window (h, w, D), zeros around it."""
    height, width, dim = x.shape
    heads = len(w["attn.head_probs"])
    d = dim // heads
    sharp = np.exp(w["attn.head_probs"] / 100)
    p = sharp / sharp.sum(axis=0)
    offsets = OFFSETS if wide else OFFSETS[:1]
    out = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            hidden = np.zeros(d)
            for k, (down, right) in enumerate(offsets):
                r, c = row + down, column + right
                for h in range(heads):
                    rows = slice(h * d, (h + 1) * d)
                    hidden += p[h, k] * w["attn.v.bias"][rows]
                    if 0 <= r < height and 0 <= c < width:
                        hidden += p[h, k] * (w["attn.v.weight"][rows] @ x[r, c])
            hidden = norm_and_relu(hidden, w, "attn.bn_3x3" if wide else "attn.bn_1x1")
            out[row, column] = w["attn.proj.bias"]
            for k in range(len(offsets)):
                for h in range(heads):
                    out[row, column] += p[h, k] * (w["attn.proj.weight"][:, h * d : (h + 1) * d] @ hidden)
    return out


def in_windows(x: np.ndarray, w: Weights, wide: bool, window: int, shift: int) -> np.ndarray:
    """The convolution of a searched file: within each window of the rolled map."""
    rolled = np.roll(x, (-shift, -shift), (0, 1))
    out = np.zeros_like(x)
    for top in range(0, x.shape[0], window):
        for left in range(0, x.shape[1], window):
            cut = slice(top, top + window), slice(left, left + window)
            out[cut] = convolution(rolled[cut], w, wide)
    return np.roll(out, (shift, shift), (0, 1))


def mixer(x: np.ndarray, w: Weights, window: int, shift: int) -> np.ndarray:
    if "attn.kernel_thresholds_full" in w:
        opened = [theta > 0 for theta in w["attn.kernel_thresholds_full"]]
        if not opened[0]:
            return np.zeros_like(x)
        if opened[1] and opened[2]:
            return attention(x, w, window, shift)
        return in_windows(x, w, opened[1], window, shift)
    if "attn.qk.weight" in w:
        return attention(x, w, window, shift)
    if "attn.v.weight" in w:
        return convolution(x, w, "attn.bn_3x3.weight" in w)
    return x


def merge(x: np.ndarray, w: Weights) -> np.ndarray:
    """Four neighbours become one patch of twice the width, in the order: itself, below, right, across."""
    joined = np.concatenate([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], axis=-1)
    return layer_norm(joined, w, "downsample.norm") @ w["downsample.reduction.weight"].T


def part(w: Weights, start: str) -> Weights:
    return {key.removeprefix(start): value for key, value in w.items() if key.startswith(start)}


def logits(image: np.ndarray, state: dict, depths: tuple[int, ...], window: int) -> np.ndarray:
    """Logits (C,) of one normalised image (3, H, W)."""
    w = {key: np.asarray(value, dtype=np.float64) for key, value in state.items()}
    kernel = w["patch_embed.proj.weight"]
    patch = kernel.shape[-1]
    side = image.shape[-1] // patch
    x = np.zeros((side, side, len(kernel)))
    for row in range(side):
        for column in range(side):
            square = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            x[row, column] = (kernel * square).sum(axis=(1, 2, 3)) + w["patch_embed.proj.bias"]
    x = layer_norm(x, w, "patch_embed.norm")
    for stage, depth in enumerate(depths):
        for at in range(depth):
            block = part(w, f"layers.{stage}.blocks.{at}.")
            shift = window // 2 if at % 2 and len(x) > window else 0
            x = x + mixer(layer_norm(x, block, "norm1"), block, window, shift)
            hidden = layer_norm(x, block, "norm2") @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
            hidden = np.vectorize(gelu)(hidden)
            if "mlp.ffn_thresholds" in block:
                hidden = hidden * (block["mlp.ffn_thresholds"] > 0)
            x = x + hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]
        if stage + 1 < len(depths):
            x = merge(x, part(w, f"layers.{stage}."))
    return layer_norm(x, w, "norm").mean(axis=(0, 1)) @ w["head.weight"].T + w["head.bias"]
