"""A slow evaluation of a DeiT with token selectors: the formulas, token by token, with no code of ours.

Everything as the release trains it (Kong et al., arXiv:2112.13890), with the higher score in place of a random draw:
no token leaves; one that was dropped is no key for any other. A package of dropped tokens is appended at each stage.
As a sum it is there, and is attended to, even where nothing was dropped; as a mean there is none then.
"""

import math
from dataclasses import dataclass

import numpy as np

from tests.literal import Weights, gelu, layer_norm


@dataclass
class Seen:
    """What one selector did to one image."""

    kept: list[bool]
    """Of each patch."""
    keep_prob: list[float]
    """Of each patch, dropped before or not."""
    margins: list[float]
    """Keep minus prune score of the patches that were still there."""


def head_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    """Layer norm of one head's channels; the release leaves torch's 1e-5 here."""
    spread = np.mean((x - x.mean()) ** 2)
    return (x - x.mean()) / math.sqrt(spread + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def gelus(x: np.ndarray) -> np.ndarray:
    return np.array([gelu(value) for value in x])


def scores(x: np.ndarray, alive: list[bool], w: Weights, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep and prune logits (T, 2) and keep probability (T,) of tokens (T, D), the class token left out."""
    d = x.shape[1] // heads
    per_head = []
    for h in range(heads):
        own = x[:, h * d : (h + 1) * d]
        hidden = [gelus(linear(head_norm(t, w, f"in_conv.{h}.0"), w, f"in_conv.{h}.1")) for t in own]
        mean = sum(t[d // 2 :] for t, here in zip(hidden, alive, strict=True) if here) / sum(alive)
        answers = []
        for t in hidden:
            t = gelus(linear(np.concatenate([t[: d // 2], mean]), w, f"out_conv.{h}.0"))
            answers.append(linear(gelus(linear(t, w, f"out_conv.{h}.2")), w, f"out_conv.{h}.4"))
        per_head.append(answers)
    logits, keep_prob = np.zeros((len(x), 2)), np.zeros(len(x))
    for n, token in enumerate(x):
        means = np.array([token[h * d : (h + 1) * d].mean() for h in range(heads)])
        weight = 1 / (1 + np.exp(-linear(gelus(linear(means, w, "senet.0")), w, "senet.2")))
        for h in range(heads):
            a, b = per_head[h][n]
            total = math.log(math.exp(a) + math.exp(b))
            logits[n] += weight[h] * np.array([a - total, b - total]) / weight.sum()
            keep_prob[n] += weight[h] * math.exp(a - total) / weight.sum()
    return logits, keep_prob


def attention(x: np.ndarray, alive: list[bool], w: Weights, heads: int) -> np.ndarray:
    """A token attends to those that are alive, and to itself."""
    dim = x.shape[1]
    d = dim // heads
    q, k, v = (
        x @ w["attn.qkv.weight"][i * dim : (i + 1) * dim].T + w["attn.qkv.bias"][i * dim :][:dim] for i in range(3)
    )
    mixed = np.zeros_like(x)
    for h in range(heads):
        own = slice(h * d, (h + 1) * d)
        for t in range(len(x)):
            keys = [s for s in range(len(x)) if alive[s] or s == t]
            share = np.exp([q[t, own] @ k[s, own] / math.sqrt(d) for s in keys])
            mixed[t, own] = sum(a * v[s, own] for a, s in zip(share / share.sum(), keys, strict=True))
    return mixed @ w["attn.proj.weight"].T + w["attn.proj.bias"]


def run(
    image: np.ndarray, state: dict, heads: int, blocks: tuple[int, ...], packaging: str
) -> tuple[np.ndarray, list[Seen]]:
    """Logits (C,) of one normalised image (3, H, W), and what each selector did."""
    w = {key: np.asarray(value, dtype=np.float64) for key, value in state.items()}
    kernel = w["patch_embed.proj.weight"]
    patch = kernel.shape[-1]
    side = image.shape[-1] // patch
    patches = side * side
    tokens = [w["cls_token"][0, 0]]
    for row in range(side):
        for column in range(side):
            square = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append((kernel * square).sum(axis=(1, 2, 3)) + w["patch_embed.proj.bias"])
    x = np.stack(tokens) + w["pos_embed"][0]
    alive = [True] * len(x)
    seen: list[Seen] = []
    for at in range(1 + max(int(key.split(".")[1]) for key in w if key.startswith("blocks."))):
        if at in blocks:
            logits, keep_prob = scores(x[1:], alive[1:], part(w, f"score_predictor.{len(seen)}."), heads)
            was, total, package = list(alive), 0.0, np.zeros(x.shape[1])
            for n in range(patches):
                if alive[1 + n] and logits[n, 0] < logits[n, 1]:  # a tie keeps; packages and the class token stay
                    alive[1 + n] = False
                    package = package + keep_prob[n] * x[1 + n]
                    total += keep_prob[n]
            margins = [logits[n, 0] - logits[n, 1] for n in range(patches) if was[1 + n]]
            seen.append(Seen(alive[1 : 1 + patches], list(keep_prob[:patches]), margins))
            if packaging == "weighted_sum" or total > 0:
                x = np.vstack([x, package if packaging == "weighted_sum" else package / total])
                alive.append(True)
        block = part(w, f"blocks.{at}.")
        x = x + attention(layer_norm(x, block, "norm1"), alive, block, heads)
        hidden = layer_norm(x, block, "norm2") @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
        x = x + np.stack([gelus(t) for t in hidden]) @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]
    return layer_norm(x, w, "norm")[0] @ w["head.weight"].T + w["head.bias"], seen


def part(w: Weights, start: str) -> Weights:
    return {key.removeprefix(start): value for key, value in w.items() if key.startswith(start)}
