"""Which token each patch is in, while tokens are merged, fused or dropped."""

from dataclasses import dataclass

import torch
from torch import Tensor

GONE = -1
"""In place of a token: the patch is in none."""
NEVER = -1
"""In place of a block: it did not happen."""


@dataclass(frozen=True, eq=False)
class Grouping:
    """The patches of a batch between two blocks."""

    token: Tensor
    """int (B, N): position in the sequence of the token that holds the patch, or `GONE`."""
    left: Tensor
    """int (B, N): block in which the patch stopped being a token of its own, from 0, or `NEVER`."""
    steps: tuple[tuple[int, Tensor], ...] = ()
    """Each block that moved something, and `token` as that left it."""

    def moved(self, place: Tensor, shared: Tensor, block: int) -> "Grouping":
        """After a block has rearranged the tokens.

        Args:
            place: int (B, T): where each token went, or `GONE`.
            shared: bool (B, T'): which of the tokens that there are now is no single patch.
            block: Its number, from 0.
        """
        token = place.gather(1, self.token.clamp(min=0))
        token = torch.where(self.token == GONE, GONE, token)
        alone = (token != GONE) & ~shared.gather(1, token.clamp(min=0))
        left = torch.where((self.left == NEVER) & ~alone, block, self.left)
        return Grouping(token, left, (*self.steps, (block, token)))


def apart(batch: int, patches: int, prefix: int, device: torch.device) -> Grouping:
    """Every patch a token of its own, behind `prefix` tokens that are no patches."""
    token = (torch.arange(patches, device=device) + prefix).expand(batch, patches)
    return Grouping(token, torch.full_like(token, NEVER))
