"""Findings of a search: its gates, how they moved, and the convolution inside an attention; free of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.costs.geometry import Geometry
from core.costs.macs import block_prices
from core.results import BY_OPEN_GATES


@dataclass(frozen=True, eq=False)
class Gates:
    """Learned gate logits of one single-path model: what `derive` turns into an Architecture."""

    geometry: Geometry
    mixer_logits: np.ndarray
    """float (L, 3): theta of 1x1, 3x3 and MSA."""
    ffn_logits: Sequence[np.ndarray]
    """L of them, float (F,); blocks may differ in F."""

    def __post_init__(self) -> None:
        depth, widths = self.geometry.depth, self.geometry.ffn_widths
        shapes = [logits.shape for logits in self.ffn_logits]
        if self.mixer_logits.shape != (depth, 3) or shapes != [(width,) for width in widths]:
            raise ValueError(f"gates {self.mixer_logits.shape}, {shapes} for {depth} blocks of {widths}")

    @cached_property
    def closing_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Every gate, least useful per multiply-add first; sorted once, as a slider asks for many budgets.

        A gate's logit was learned against the price of its multiply-adds (the search's cost term pulls each gate down
        in proportion to what it costs), so the logit itself ranks usefulness per multiply-add: at 0 a gate is worth
        just what it costs. An outer gate cannot outlive an inner one, so a mixer gate ranks by the smallest logit up to
        it; then the gates above 0 are just those that are open at evaluation. Ties: the more expensive mixer first,
        then the earlier block.

        Gate numbers in closing order, (3 L + sum of F,), and the MACs that each saves, in that order. Gate 3 l + i is
        mixer gate 2 - i of block l (MSA first); from 3 L on come the hidden units, block by block.
        """
        prices = block_prices(self.geometry)
        ladder = np.array([[price.mixers[mixer] for mixer in BY_OPEN_GATES] for price in prices])  # (L, 4)
        steps = np.diff(ladder)[:, ::-1]  # MSA to 3x3, 3x3 to 1x1, 1x1 to nothing
        rank = np.minimum.accumulate(self.mixer_logits, axis=1)[:, ::-1]
        score = np.concatenate((rank.ravel(), *self.ffn_logits))
        units = np.repeat([price.unit for price in prices], self.geometry.ffn_widths)
        cost = np.concatenate((steps.ravel(), units))
        order = np.argsort(score, kind="stable")
        return order, cost[order]


@dataclass(frozen=True, eq=False)
class GateHistory:
    """The gate logits of one search, moment by moment."""

    geometry: Geometry
    epochs: np.ndarray
    """float (K,): epochs passed, rising."""
    mixer_logits: np.ndarray
    """float (K, L, 3): theta of 1x1, 3x3 and MSA."""
    ffn_logits: Sequence[np.ndarray]
    """Per block, L of them, float (K, F); blocks may differ in F."""

    def __post_init__(self) -> None:
        depth, widths, moments = self.geometry.depth, self.geometry.ffn_widths, len(self.epochs)
        shapes = [logits.shape for logits in self.ffn_logits]
        if self.mixer_logits.shape != (moments, depth, 3) or shapes != [(moments, width) for width in widths]:
            raise ValueError(f"gates {self.mixer_logits.shape}, {shapes} at {moments} moments")
        if (np.diff(self.epochs) <= 0).any():
            raise ValueError("moments out of order")

    def at(self, moment: int) -> Gates:
        """The gates of one moment, counted from 0."""
        return Gates(self.geometry, self.mixer_logits[moment], tuple(logits[moment] for logits in self.ffn_logits))


@dataclass(frozen=True, eq=False)
class KernelReading:
    """The 3x3 convolution inside one attention: which heads it is mixed from, and how strong it is where."""

    head_share: np.ndarray
    """float (H, 3, 3): share of each head at each kernel offset, row-major; over the heads they sum to 1."""
    kernel_norm: np.ndarray
    """float (3, 3): Frobenius norm of the kernel's (d, D) matrix at each offset."""
    channels: int
    """d, of the bottleneck."""
    alpha: float
    """Temperature of the softmax over heads."""

    def __post_init__(self) -> None:
        if self.head_share.shape[1:] != (3, 3) or self.kernel_norm.shape != (3, 3):
            raise ValueError(f"shares {self.head_share.shape}, norms {self.kernel_norm.shape}")
        if not np.allclose(self.head_share.sum(axis=0), 1, atol=1e-4):
            raise ValueError("the shares of the heads do not sum to 1")
