"""One block of a single-path model: the convolution inside its attention, read out, and what the block costs."""

import torch

from core.costs.geometry import Geometry
from core.costs.macs import block_prices
from core.families.families import blocks_of
from core.results import MacCount, Mixer
from core.single_path.mixer import head_mixing, read_kernels
from core.single_path.model import SinglePathViT
from core.single_path.searched import KernelReading


@torch.inference_mode()
def read_block(model: SinglePathViT, block: int) -> KernelReading:
    """The 3x3 convolution that the attention of `block` (from 0) holds, whether or not any budget uses it.

    Source: He et al. 2021, arXiv:2111.11802, weight sharing between MSA and convolution.
    """
    attn = blocks_of(model.backbone)[block].attn
    share = head_mixing(model.paths[block].head_logits, model.alpha)  # (H, 9)
    kernels = read_kernels(attn, share)
    norm = kernels.weight.flatten(1).norm(dim=1)  # (9,)
    return KernelReading(
        head_share=share.unflatten(1, (3, 3)).cpu().double().numpy(),
        kernel_norm=norm.unflatten(0, (3, 3)).cpu().double().numpy(),
        channels=kernels.weight.shape[1],
        alpha=model.alpha,
    )


def block_count(geometry: Geometry, block: int, mixer: Mixer, hidden: int) -> MacCount:
    """MACs of `block` (from 0) with this mixer and `hidden` FFN units, all tokens in it."""
    prices = block_prices(geometry)[block]
    cost = prices.mixers[mixer]
    attention = cost if mixer == "msa" else 0
    return MacCount(0, attention, cost - attention, hidden * prices.unit, 0, 0)
