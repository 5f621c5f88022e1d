"""What stands in a selector's place where nothing was trained: patches rank by how much the answer looks at them.

EViT's ranking, in the block that follows, with Kong et al.'s packages: each patch weighs its share of that attention.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.errors import InputError
from core.soft_tokens.selector import Folded, Scores

Look = Callable[[Tensor, Tensor | None], Tensor]
"""How much the answer looks at each token, (B, T), rows summing to 1: of tokens (B, T, D), prefix tokens first, and who
of them is there, (B, T), or None: all are. See `core.families.base.FlatFamily.attended`."""
LEAST = 1e-12
"""Attention below it counts as that much, so that its logarithm is a number."""


class AttentionRanking(nn.Module):
    """Ranks patches by class attention; has no weights.

    Source: Liang et al. 2022, arXiv:2202.07800 (EViT), attentiveness of the class token.
    """

    def fold(self) -> "AttentionRanking":
        """Nothing can be worked out beforehand."""
        return self


Choosing = Folded | AttentionRanking
"""What gives patches their scores at inference."""


def ranked_scores(attention: Tensor) -> Scores:
    """Scores whose keep probability is the share of the class token's attention, (...) in [0, 1], as one head."""
    margins = attention.float().clamp(LEAST, 1 - 1e-6).logit()[..., None]
    return Scores(margins, torch.ones_like(margins), attention)


def look(looking: Look | None, x: Tensor, policy: Tensor | None = None) -> Tensor:
    """How much the answer looks at each token, (B, T), as the block behind the ranking would have it.

    Args:
        looking: Of that block, or of the next one that still is an attention; None: there is none.
        x: Tokens, (B, T, D), prefix tokens first.
        policy: (B, T), 1 for tokens that are there and 0 for those that have left; None: all are.

    Raises:
        InputError: If there is no block with an attention.
    """
    if looking is None:
        raise InputError(
            "No block of this model is an attention any more, so no class attention is there to choose by."
        )
    return looking(x, policy)
