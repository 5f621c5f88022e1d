"""The convolutions inside the attentions of a dense model, fitted to what these attentions give; nothing else moves."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from core.families.block import PreNorm
from core.families.families import blocks_of, walk
from core.families.views import View
from core.single_path import mixer as mix
from core.single_path.model import Path, SinglePathViT

FIT_STEPS = 40
FIT_RATE = 0.02


def fit_convolutions(
    model: SinglePathViT,
    images: Sequence[Tensor],
    *,
    steps: int = FIT_STEPS,
    on_block: Callable[[int], None] | None = None,
) -> None:
    """Fit each block's two convolutions to what its attention gives, in place: head mixing and batch norms.

    Least squares on the patches, block by block, on what comes into the block in the dense model; no other weight
    moves. At the end the batch norms hold the statistics of these photos.

    Args:
        model: Search form; left in evaluation mode.
        images: Batches (B, 3, H, W).
        steps: Of Adam, each on one batch; 0: only the statistics.
        on_block: Called with the number of blocks done.
    """
    normalised: list[list[Tensor]] = [[] for _ in model.paths]

    def keep(index: int, block: PreNorm, x: Tensor) -> Tensor:
        normalised[index].append(block.norm1(x))
        return block(x)

    with torch.no_grad():
        for batch in images:
            walk(model.backbone, batch, keep)
    for index, (block, path) in enumerate(zip(blocks_of(model.backbone), model.paths, strict=True)):
        view = model.views[index]
        with torch.no_grad():
            wanted = [view.maps(view.attend(block, x)) for x in normalised[index]]
        _fit_block(model, index, block, path, view, normalised[index], wanted, steps)
        normalised[index].clear()
        if on_block is not None:
            on_block(index + 1)
    model.eval()


def _fit_block(
    model: SinglePathViT,
    index: int,
    block: PreNorm,
    path: Path,
    view: View,
    inputs: list[Tensor],
    wanted: list[Tensor],
    steps: int,
) -> None:
    norms = (path.bn_3x3, path.bn_1x1)
    learned = [path.head_logits, *(p for norm in norms for p in norm.parameters())]
    frozen = [p for p in model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    for parameter in learned:
        parameter.requires_grad_(True)
    groups = [
        {"params": [path.head_logits], "lr": FIT_RATE * model.alpha},  # the softmax divides by alpha
        {"params": learned[1:], "lr": FIT_RATE},
    ]
    optimizer = torch.optim.Adam(groups)

    def outputs(x: Tensor) -> tuple[Tensor, Tensor]:
        kernels = mix.read_kernels(block.attn, mix.head_mixing(path.head_logits, model.alpha))
        maps, bias = view.maps(x), block.attn.proj.bias
        return mix.conv3x3(maps, kernels, path.bn_3x3, bias), mix.conv1x1(maps, kernels, path.bn_1x1, bias)

    for norm in norms:
        norm.train()
    for step in range(steps):
        at = step % len(inputs)
        with torch.enable_grad():
            wide, narrow = (functional.mse_loss(out, wanted[at]) for out in outputs(inputs[at]))
            loss = wide + narrow
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    with torch.no_grad():
        for x in inputs:
            outputs(x)
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()
    for parameter in frozen:
        parameter.requires_grad_(True)
