"""The search form: a ViT whose blocks hold all candidates in one path, chosen by gates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from core.backbones import deit
from core.single_path import mixer as mix
from core.single_path.gates import START_LOGIT, is_open, nest, sample_open, stop_below


class Path(nn.Module):
    """What a block needs beside timm's own weights to be any of its candidates."""

    def __init__(self, block: Block) -> None:
        """Uniform head mixing, so that a convolution starts from the mean of the heads; all gates likely open."""
        super().__init__()
        attn = block.attn
        self.head_logits = nn.Parameter(torch.zeros(attn.num_heads, mix.OFFSETS))
        self.bn_3x3 = nn.BatchNorm2d(attn.head_dim)
        self.bn_1x1 = nn.BatchNorm2d(attn.head_dim)
        self.mixer_logits = nn.Parameter(torch.full((3,), START_LOGIT))
        self.ffn_logits = nn.Parameter(torch.full((block.mlp.fc1.out_features,), START_LOGIT))


@dataclass(frozen=True, eq=False)
class Gating:
    """The gates of one forward pass, per block."""

    mixer: list[Tensor]
    """g, (3,) each, in {0, 1}: 1x1, 3x3, MSA."""
    ffn: list[Tensor]
    """(F,) each, in {0, 1}."""


class SinglePathViT(nn.Module):
    """Backbone and paths. Training: gates are drawn at each step; evaluation: a gate is open above probability 0.5."""

    def __init__(
        self,
        backbone: VisionTransformer,
        alpha: float = 0.01,
        budgets: Sequence[float] = (),
        *,
        prefix_passes: bool = False,
    ) -> None:
        """Put gates into a backbone.

        Args:
            backbone: The ViT; shared, not copied.
            alpha: Temperature of the head mixing; 0.01 in the release of arXiv:2111.11802 for DeiT.
            budgets: Shares of the dense MACs for which batch norm statistics are stored, rising; none: only those
                of the search.
            prefix_passes: See `core.cards.SinglePathCard`.
        """
        super().__init__()
        self.backbone = backbone
        self.alpha = alpha
        self.budgets = tuple(budgets)
        self.prefix_passes = prefix_passes
        self.paths = nn.ModuleList(Path(block) for block in backbone.blocks)
        if self.budgets:
            d = backbone.blocks[0].attn.head_dim
            stored = torch.zeros(len(self.budgets), len(self.paths), 2, 2, d)  # 3x3 and 1x1; mean and variance
            self.register_buffer("calibrated", stored)

    def forward(self, images: Tensor, gating: Gating | None = None) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C); `gating` replaces the gates' own state."""
        if gating is None:
            gating = self.draw() if self.training else self.settled()
        x = deit.embed(self.backbone, images)
        for block, path, g, units in zip(self.backbone.blocks, self.paths, gating.mixer, gating.ffn, strict=True):
            mixed = gated_mixer(
                block, path, block.norm1(x), g, self.alpha, self.backbone.patch_embed.grid_size, self.prefix_passes
            )
            x = x + block.drop_path1(block.ls1(mixed))
            x = x + block.drop_path2(block.ls2(gated_ffn(block, block.norm2(x), units)))
        return deit.classify(self.backbone, x)

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


def gated_ffn(block: Block, x: Tensor, units: Tensor) -> Tensor:
    """timm's FFN with a gate (F,) on each hidden unit, for normalised tokens (B, T, D).

    The gate of unit f on column f of the second weight, (D, F), is the same as on the unit itself, (B, T, F), and
    cheaper.
    """
    hidden = block.mlp.drop1(block.mlp.act(block.mlp.fc1(x)))
    return block.mlp.drop2(functional.linear(hidden, block.mlp.fc2.weight * units, block.mlp.fc2.bias))


def gated_mixer(
    block: Block,
    path: Path,
    x: Tensor,
    g: Tensor,
    alpha: float,
    grid: tuple[int, int],
    prefix_passes: bool = False,
) -> Tensor:
    """g_3 msa(x) + g_2 (1 - g_3) conv3x3(x) + g_1 (1 - g_2) conv1x1(x), for normalised tokens (B, T, D).

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
            full = block.attn(x)
        total = total + g3 * full
    if not learning and (msa_open or not any_open):
        return total
    prefix = x.shape[1] - grid[0] * grid[1]
    first = x[:, :prefix] if prefix_passes else torch.zeros_like(x[:, :prefix])
    maps = mix.to_map(x[:, prefix:], grid)
    kernels = mix.read_kernels(block.attn, mix.head_mixing(path.head_logits, alpha))
    if wide_open or learning:
        with learns_if(wide_open and not msa_open):
            wide = mix.to_tokens(mix.conv3x3(maps, kernels, path.bn_3x3, block.attn.proj.bias), first)
        total = total + g2 * (1 - g3) * wide
    if not msa_open and (learning or not wide_open):
        with learns_if(any_open and not wide_open):
            narrow = mix.to_tokens(mix.conv1x1(maps, kernels, path.bn_1x1, block.attn.proj.bias), first)
        total = total + g1 * (1 - g2) * narrow
    return total


def learns_if(is_open: bool) -> torch.set_grad_enabled:
    """A context in which gradients are kept only for an open candidate: a closed one's output counts 0 times."""
    return torch.set_grad_enabled(is_open and torch.is_grad_enabled())
