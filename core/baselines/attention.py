"""Attention at inference, opened up: proportional to token sizes, and telling its keys or where it looks."""

from timm.layers import Attention
from torch import Tensor
from torch.nn import functional

from core.families.block import project, put_back, queries_keys_values, scores


def attend(attn: Attention, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention in which a token counts as often as the patches that it stands for.

    softmax(q k^T / sqrt(d) + log s) v, with s the sizes of the tokens that are looked at.

    Args:
        attn: With its weights.
        x: Normalised tokens, (B, T, D).
        size: Patches in each token, (B, T), at least 1; None: one in each.

    Returns:
        What the attention adds, (B, T, D), and the keys, mean over heads, (B, T, d).

    Source: Bolya et al. 2023, arXiv:2210.09461, proportional attention and token similarity.
    """
    q, k, v = queries_keys_values(attn, project(attn, x))
    bias = None if size is None else size.to(q.dtype).log()[:, None, None, :]
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return put_back(attn, mixed), k.mean(dim=1)


def attend_and_tell(attn: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the attention adds to tokens (B, T, D), and how much the class token looks at each, mean over heads, (B, T).

    The weights are those that the attention itself uses, so telling them costs nothing more.

    Source: Liang et al. 2022, arXiv:2202.07800, attentiveness of the class token.
    """
    q, k, v = queries_keys_values(attn, project(attn, x))
    weights = scores(q, k, attn.scale).softmax(dim=-1)  # (B, H, T, T)
    return put_back(attn, weights @ v), weights[:, :, 0].mean(dim=1)
