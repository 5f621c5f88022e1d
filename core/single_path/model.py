"""The search form: a ViT or Swin whose blocks hold all candidates in one path, chosen by gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.families.base import Backbone
from core.families.block import PreNorm, prenorm
from core.families.families import blocks_of, family_of, walk
from core.families.views import View
from core.single_path import mixer as mix
from core.single_path.gates import START_LOGIT, is_open, nest, sample_open, stop_below


class Path(nn.Module):
    """What a block needs beside timm's own weights to be any of its candidates."""

    def __init__(self, block: PreNorm, *, shifts: bool = False) -> None:
        """Uniform head mixing, so that a convolution starts from the mean of the heads; all gates likely open."""
        super().__init__()
        self.head_logits = nn.Parameter(torch.zeros(block.attn.num_heads, mix.OFFSETS))
        self.bn_3x3 = nn.BatchNorm2d(mix.head_dim(block.attn))
        self.bn_1x1 = nn.BatchNorm2d(mix.head_dim(block.attn))
        self.mixer_logits = nn.Parameter(torch.full((3,), START_LOGIT))
        self.ffn_logits = nn.Parameter(torch.full((block.mlp.fc1.out_features,), START_LOGIT))
        self.unit_means: Tensor | None
        means = torch.zeros(block.mlp.fc1.out_features) if shifts else None
        self.register_buffer("unit_means", means)

    @property
    def means(self) -> Tensor:
        """`unit_means`, of a model whose units leave them behind."""
        assert self.unit_means is not None
        return self.unit_means


@dataclass(frozen=True, eq=False)
class Gating:
    """The gates of one forward pass, per block."""

    mixer: list[Tensor]
    """g, (3,) each, in {0, 1}: 1x1, 3x3, MSA."""
    ffn: list[Tensor]
    """(F,) each, in {0, 1}."""


class SinglePathViT(nn.Module):
    """Backbone and paths. Training: gates are drawn at each step; evaluation: a gate is open above probability 0.5."""

    calibrated: Tensor
    """(budgets, L, 2, 2, d): statistics of each block's 3x3 and 1x1, mean and variance; where there are budgets."""

    def __init__(
        self,
        backbone: Backbone,
        alpha: float = 0.01,
        budgets: Sequence[float] = (),
        *,
        prefix_passes: bool = False,
        in_windows: bool = False,
        shifts: bool = False,
    ) -> None:
        """Put gates into a backbone.

        Args:
            backbone: The ViT or Swin; shared, not copied.
            alpha: Temperature of the head mixing; see `core.families.base.Search`.
            budgets: Shares of the dense MACs for which batch norm statistics are stored, rising; none: only those
                of the search.
            prefix_passes: See `core.models.cards.SinglePathCard`.
            in_windows: See there.
            shifts: See there.
        """
        super().__init__()
        self.backbone: Backbone = backbone
        self.alpha = alpha
        self.budgets = tuple(budgets)
        self.prefix_passes = prefix_passes
        self.in_windows = in_windows
        self.shifts = shifts
        self.views = family_of(backbone).views_of(backbone, passes=prefix_passes, in_windows=in_windows)
        self.paths = cast("Sequence[Path]", nn.ModuleList(Path(block, shifts=shifts) for block in blocks_of(backbone)))
        if self.budgets:
            d = max(path.bn_3x3.num_features for path in self.paths)
            self.register_buffer("calibrated", torch.zeros(len(self.budgets), len(self.paths), 2, 2, d))

    def forward(self, images: Tensor, gating: Gating | None = None) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C); `gating` replaces the gates' own state."""
        if gating is None:
            gating = self.draw() if self.training else self.settled()

        def step(index: int, block: PreNorm, x: Tensor) -> Tensor:
            return self.gated_block(index, block, x, gating.mixer[index], gating.ffn[index])

        return walk(self.backbone, images, step)

    def gated_block(self, index: int, block: PreNorm, x: Tensor, g: Tensor, units: Tensor) -> Tensor:
        """Block `index` with mixer gates `g`, (3,), and a gate on each hidden unit, (F,), on tokens or maps."""
        path, view = self.paths[index], self.views[index]
        mixed = partial(gated_mixer, block, path, g=g, alpha=self.alpha, view=view)
        return prenorm(block, x, mixed, partial(gated_ffn, block, units=units, path=path))

    def draw(self) -> Gating:
        """One random draw of all gates, with gradients."""
        return Gating(
            [stop_below(nest(sample_open(path.mixer_logits))) for path in self.paths],
            [sample_open(path.ffn_logits) for path in self.paths],
        )

    def settled(self) -> Gating:
        """The gates of evaluation, without randomness."""
        return Gating(
            [nest(is_open(path.mixer_logits)) for path in self.paths],
            [is_open(path.ffn_logits) for path in self.paths],
        )


def gated_ffn(block: PreNorm, x: Tensor, units: Tensor, path: Path | None = None) -> Tensor:
    """timm's FFN with a gate (F,) on each hidden unit, for normalised tokens (B, T, D) or maps (B, h, w, D).

    The gate of unit f on column f of the second weight, (D, F), is the same as on the unit itself, (B, T, F), and
    cheaper. Where `path` knows the units' means, a closed unit stands at its mean.
    """
    hidden = block.mlp.drop1(block.mlp.act(block.mlp.fc1(x)))
    bias = block.mlp.fc2.bias if path is None else shifted_bias(block, path, units)
    return block.mlp.drop2(functional.linear(hidden, block.mlp.fc2.weight * units, bias))


def shifted_bias(block: PreNorm, path: Path, units: Tensor) -> Tensor:
    """The second layer's bias, (D,), plus what the closed units, 0 in `units` (F,), add on average."""
    bias = block.mlp.fc2.bias
    return bias if path.unit_means is None else bias + block.mlp.fc2.weight @ (path.unit_means * (1 - units))


def gated_mixer(block: PreNorm, path: Path, x: Tensor, g: Tensor, alpha: float, view: View) -> Tensor:
    """g_3 msa(x) + g_2 (1 - g_3) conv3x3(x) + g_1 (1 - g_2) conv1x1(x), for normalised tokens or maps, as `view` says.

    At evaluation only the open candidate runs. In search a closed one runs too, without its backward pass, as the gates
    learn from what it would have given; the 1x1 does not where the attention is open, since nothing then learns from
    it (`stop_below`).

    Source: He et al. 2021, arXiv:2111.11802, single-path search space.
    """
    learning = g.requires_grad
    g1, g2, g3 = g.unbind()
    msa_open, wide_open, any_open = bool(g3 > 0), bool(g2 > 0), bool(g1 > 0)
    total = torch.zeros_like(x)
    if msa_open or learning:
        with learns_if(msa_open):
            full = view.attend(block, x)
        total = total + g3 * full
    if not learning and (msa_open or not any_open):
        return total
    maps = view.maps(x)
    kernels = mix.read_kernels(block.attn, mix.head_mixing(path.head_logits, alpha))
    if wide_open or learning:
        with learns_if(wide_open and not msa_open):
            wide = view.back(mix.conv3x3(maps, kernels, path.bn_3x3, block.attn.proj.bias), x)
        total = total + g2 * (1 - g3) * wide
    if not msa_open and (learning or not wide_open):
        with learns_if(any_open and not wide_open):
            narrow = view.back(mix.conv1x1(maps, kernels, path.bn_1x1, block.attn.proj.bias), x)
        total = total + g1 * (1 - g2) * narrow
    return total


def learns_if(is_open: bool) -> torch.set_grad_enabled:
    """A context in which gradients are kept only for an open candidate: a closed one's output counts 0 times."""
    return torch.set_grad_enabled(is_open and torch.is_grad_enabled())
