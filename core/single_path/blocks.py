"""One block of a single-path model: the convolution inside its attention, read out, and what the block costs."""

import torch

from core.config import Geometry
from core.macs import ffn_macs, mixer_macs
from core.results import KernelReading, MacCount, Mixer
from core.single_path.mixer import head_mixing, read_kernels
from core.single_path.model import SinglePathViT


@torch.inference_mode()
def read_block(model: SinglePathViT, block: int) -> KernelReading:
    """The 3x3 convolution that the attention of `block` (from 0) holds, whether or not any budget uses it.

    Source: He et al. 2021, arXiv:2111.11802, weight sharing between MSA and convolution.
    """
    attn = model.backbone.blocks[block].attn
    share = head_mixing(model.paths[block].head_logits, model.alpha)  # (H, 9)
    kernels = read_kernels(attn, share)
    norm = kernels.weight.flatten(1).norm(dim=1)  # (9,)
    return KernelReading(
        head_share=share.unflatten(1, (3, 3)).cpu().double().numpy(),
        kernel_norm=norm.unflatten(0, (3, 3)).cpu().double().numpy(),
        channels=kernels.weight.shape[1],
        alpha=model.alpha,
    )


def block_count(geometry: Geometry, mixer: Mixer, hidden: int) -> MacCount:
    """MACs of one block with this mixer and `hidden` FFN units, all tokens in it."""
    tokens = geometry.patches + geometry.prefix_tokens
    cost = mixer_macs(mixer, geometry, tokens)
    attention = cost if mixer == "msa" else 0
    return MacCount(0, attention, cost - attention, ffn_macs(tokens, geometry.width, hidden), 0, 0)
