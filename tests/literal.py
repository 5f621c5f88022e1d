"""A slow evaluation of a released single-path DeiT: the formulas, position by position, with no code of ours.

Offsets, the class token and blocks without a mixer follow the release of He et al. (arXiv:2111.11802): offset k of the
kernel sits at row k mod 3, column k div 3; a convolution leaves the class token its normalised input; a block without
a mixer adds its normalised input in a fine-tuned file and nothing in a searched one.
"""

import math

import numpy as np

Weights = dict[str, np.ndarray]


def layer_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    out = np.empty_like(x)
    for t, token in enumerate(x):
        spread = np.mean((token - token.mean()) ** 2)
        out[t] = (token - token.mean()) / math.sqrt(spread + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]
    return out


def gelu(value: float) -> float:
    return 0.5 * value * (1 + math.erf(value / math.sqrt(2)))


def attention(x: np.ndarray, w: Weights, heads: int) -> np.ndarray:
    dim = x.shape[1]
    d = dim // heads
    mixed = np.zeros_like(x)
    for h in range(heads):
        rows = slice(h * d, (h + 1) * d)
        q = x @ w["attn.qk.weight"][:dim][rows].T + w["attn.qk.bias"][:dim][rows]
        k = x @ w["attn.qk.weight"][dim:][rows].T + w["attn.qk.bias"][dim:][rows]
        v = x @ w["attn.v.weight"][rows].T + w["attn.v.bias"][rows]
        for t in range(len(x)):
            scores = np.array([q[t] @ k[s] / math.sqrt(d) for s in range(len(x))])
            share = np.exp(scores - scores.max())
            mixed[t, rows] = (share / share.sum()) @ v
    return mixed @ w["attn.proj.weight"].T + w["attn.proj.bias"]


def norm_and_relu(value: np.ndarray, w: Weights, name: str) -> np.ndarray:
    scaled = (value - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
    return np.maximum(scaled * w[f"{name}.weight"] + w[f"{name}.bias"], 0)


def convolution(x: np.ndarray, w: Weights, heads: int, side: int, wide: bool) -> np.ndarray:
    """The convolution of a block from its heads; x is (1 + N, D), the class token first."""
    dim = x.shape[1]
    d = dim // heads
    sharp = np.exp(w["attn.head_probs"] / 0.01 - (w["attn.head_probs"] / 0.01).max(axis=0))
    p = sharp / sharp.sum(axis=0)
    offsets = range(9) if wide else (4,)
    out = x.copy()  # the class token's mixer output is its normalised input
    for row in range(side):
        for column in range(side):
            hidden = np.zeros(d)
            for k in offsets:
                r, c = (row + k % 3 - 1, column + k // 3 - 1) if wide else (row, column)
                for h in range(heads):
                    rows = slice(h * d, (h + 1) * d)
                    hidden += p[h, k] * w["attn.v.bias"][rows]
                    if 0 <= r < side and 0 <= c < side:
                        hidden += p[h, k] * (w["attn.v.weight"][rows] @ x[1 + r * side + c])
            hidden = norm_and_relu(hidden, w, "attn.bn_3x3" if wide else "attn.bn_1x1")
            answer = w["attn.proj.bias"].copy()
            for k in offsets:
                for h in range(heads):
                    answer += p[h, k] * (w["attn.proj.weight"][:, h * d : (h + 1) * d] @ hidden)
            out[1 + row * side + column] = answer
    return out


def stored_convolution(x: np.ndarray, w: Weights, side: int) -> np.ndarray:
    """The convolution of an optimised file, stored as torch stores one: (out, in, row, column)."""
    kernel = w["attn.bconv.0.weight"]
    reach = kernel.shape[-1] // 2
    out = x.copy()
    for row in range(side):
        for column in range(side):
            hidden = w["attn.bconv.0.bias"].copy()
            for i in range(kernel.shape[2]):
                for j in range(kernel.shape[3]):
                    r, c = row + i - reach, column + j - reach
                    if 0 <= r < side and 0 <= c < side:
                        hidden += kernel[:, :, i, j] @ x[1 + r * side + c]
            hidden = norm_and_relu(hidden, w, "attn.bconv.1")
            out[1 + row * side + column] = w["attn.bconv.3.weight"][:, :, 0, 0] @ hidden + w["attn.bconv.3.bias"]
    return out


def mixer(x: np.ndarray, w: Weights, heads: int, side: int) -> np.ndarray:
    if "attn.kernel_thresholds" in w:
        open_gates = [theta > 0 for theta in w["attn.kernel_thresholds"]]
        if not open_gates[0]:
            return np.zeros_like(x)
        if not open_gates[1]:
            return convolution(x, w, heads, side, wide=False)
        return attention(x, w, heads) if open_gates[2] else convolution(x, w, heads, side, wide=True)
    if "attn.qk.weight" in w:
        return attention(x, w, heads)
    if "attn.bconv.0.weight" in w:
        return stored_convolution(x, w, side)
    if "attn.v.weight" in w:
        return convolution(x, w, heads, side, wide="attn.bn_3x3.weight" in w)
    return x


def logits(image: np.ndarray, state: dict, heads: int) -> np.ndarray:
    """Logits (C,) of one normalised image (3, H, W)."""
    w = {key: np.asarray(value, dtype=np.float64) for key, value in state.items()}
    kernel = w["patch_embed.proj.weight"]
    patch = kernel.shape[-1]
    side = image.shape[-1] // patch
    tokens = [w["cls_token"][0, 0]]
    for row in range(side):
        for column in range(side):
            square = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append((kernel * square).sum(axis=(1, 2, 3)) + w["patch_embed.proj.bias"])
    x = np.stack(tokens) + w["pos_embed"][0]
    depth = 1 + max(int(key.split(".")[1]) for key in w if key.startswith("blocks."))
    for at in range(depth):
        block = {
            key.removeprefix(f"blocks.{at}."): value for key, value in w.items() if key.startswith(f"blocks.{at}.")
        }
        x = x + mixer(layer_norm(x, block, "norm1"), block, heads, side)
        hidden = layer_norm(x, block, "norm2") @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
        hidden = np.vectorize(gelu)(hidden)
        if "mlp.ffn_thresholds" in block:
            hidden = hidden * (block["mlp.ffn_thresholds"] > 0)
        x = x + hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]
    return layer_norm(x, w, "norm")[0] @ w["head.weight"].T + w["head.bias"]
