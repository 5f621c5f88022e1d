"""Other ways to choose as many patches, on one photo: what a trained selector must be better than."""

from typing import Literal

import torch
from PIL import Image

from core.inference.trace import trace_tokens
from core.models.load import Loaded
from core.results import TokenTrace
from core.soft_tokens.decide import AttentionLike, random_like

Rival = Literal["random", "attention"]


def rival_trace(loaded: Loaded, image: Image.Image, trace: TokenTrace, rival: Rival, seed: int = 0) -> TokenTrace:
    """The photo once more, with as many patches kept at each selector as in `trace`, chosen by a rival.

    Args:
        loaded: The model that `trace` is of.
        image: The photo.
        trace: Whose counts to keep.
        rival: "random", or "attention": those that the class token attends to most in the next block
            (Liang et al. 2022, arXiv:2202.07800).
        seed: Of the random choice.
    """
    counts = [torch.tensor([count]) for count in trace.kept_counts]
    if rival == "attention":
        return trace_tokens(loaded, image, AttentionLike(counts))
    return trace_tokens(loaded, image, random_like(counts, torch.Generator().manual_seed(seed)))
