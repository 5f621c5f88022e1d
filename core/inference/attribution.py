"""A model, a photo and a class in, the patches that the answer rests on out: captum's methods, and our rollout.

Everything runs on a deep copy, because captum hangs hooks on the layers, and the model may serve others meanwhile.
Where a model selects tokens, its decisions are held at those for the untouched photo: through a hard selection
integrated gradients do not converge, and an occluded patch would also change which others are there.
"""

import copy
from collections.abc import Callable

import torch
from PIL import Image
from timm.layers import Attention
from torch import Tensor, nn

from core.errors import InputError
from core.families.base import Backbone
from core.families.block import looks
from core.families.families import family_of
from core.inference.rollout import merges_of, rollout
from core.latency.measure import clock
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results.attributions import METHODS, Attribution, Method
from core.soft_tokens.decide import known_beforehand
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.stages import Stage

STEPS = 32
"""Of the path of integrated gradients: the error is then some tenths of a percent, see tests."""
TOGETHER = 8
"""Pictures in one pass; bounds the memory."""


def attribute(loaded: Loaded, image: Image.Image, class_index: int, method: Method) -> Attribution:
    """Which patches of the photo speak for a class, or with "rollout" where the class token's attention came from.

    Args:
        loaded: Stays as it is.
        image: The photo.
        class_index: From 0; of no effect on a rollout.
        method: One of `METHODS`.

    Raises:
        InputError: If there is no such method or class, or a rollout is asked of a model without any attention.
    """
    if method not in METHODS:
        raise InputError(f"There is no attribution {method}; choose {', '.join(METHODS)}.")
    if not 0 <= class_index < len(loaded.card.classes):
        raise InputError(f"{loaded.spec.name} knows classes 0 to {len(loaded.card.classes) - 1}, not {class_index}.")
    begun = clock()
    model = copy.deepcopy(loaded.model)
    images = to_tensor(image, loaded.card).to(next(model.parameters()).device)
    stages = freeze_selection(model, images) if isinstance(model, SoftTokenViT) else []
    rise = delta = None
    passed_over: tuple[int, ...] = ()
    if method == "gradients":
        values, rise, delta = integrated_gradients(model, images, class_index)
    elif method == "occlusion":
        values = occlusion(model, images, class_index, loaded.card.geometry.patch)
    else:
        values, passed_over = class_rollout(model, images, loaded.spec.name)
    return Attribution(
        values=values.detach().cpu().double().reshape(loaded.card.geometry.grid).numpy(),
        method=method,
        class_index=None if method == "rollout" else class_index,
        rise=rise,
        delta=delta,
        frozen_selectors=0 if method == "rollout" else len(stages),  # a rollout is of the photo alone
        passed_over=passed_over,
        seconds=clock() - begun,
    )


@torch.no_grad()
def freeze_selection(model: SoftTokenViT, images: Tensor) -> list[Stage]:
    """Make `model`, in place, decide for all pictures as it does for `images`, (1, 3, H, W); and what it did there."""
    stages = model.run(images)[1]
    model.decide = known_beforehand([stage.kept for stage in stages])
    return stages


def backbone_of(model: nn.Module) -> Backbone:
    """timm's model inside any of ours."""
    return model.backbone if isinstance(model, SoftTokenViT) else model


def integrated_gradients(
    model: nn.Module, images: Tensor, class_index: int, steps: int = STEPS
) -> tuple[Tensor, float, float]:
    """Integrated gradients of the class's logit over the embedded patches, from a grey picture to the photo.

    Args:
        model: Used up: captum's hooks come and go on its layers.
        images: (1, 3, H, W), normalised; 0, the baseline, is the mean colour of the training photos.
        class_index: From 0.
        steps: Of the path.

    Returns:
        One value per patch, (N,), summed over the width; the rise of the logit; the sum's distance from it.

    Source: Sundararajan et al. 2017, arXiv:1703.01365; captum's LayerIntegratedGradients.
    """
    from captum.attr import LayerIntegratedGradients  # seconds to import, and only attribution needs it

    method = LayerIntegratedGradients(model, backbone_of(model).patch_embed)
    with torch.enable_grad():
        parts, delta = method.attribute(
            images,
            baselines=torch.zeros_like(images),
            target=class_index,
            n_steps=steps,
            internal_batch_size=TOGETHER,
            return_convergence_delta=True,
        )  # (1, N, D), of a Swin (1, h, w, D), of a PiT (1, D, h, w)
    assert isinstance(parts, Tensor)  # captum gives as many as it was given
    assert isinstance(delta, Tensor)
    with torch.no_grad():
        ends = model(torch.cat((images, torch.zeros_like(images))))[:, class_index]
    values = family_of(backbone_of(model)).as_patches(parts.detach())[0].sum(dim=-1)
    return values, float(ends[0] - ends[1]), float(delta)


@torch.no_grad()
def occlusion(model: nn.Module, images: Tensor, class_index: int, patch: int) -> Tensor:
    """What the class's logit loses when one patch is covered with the mean colour, (N,).

    Args:
        model: As in `integrated_gradients`.
        images: (1, 3, H, W), normalised.
        class_index: From 0.
        patch: Side of a patch, pixels.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901; captum's Occlusion.
    """
    rows, cols = family_of(backbone_of(model)).grids_of(backbone_of(model))[0]
    if (rows * patch, cols * patch) != images.shape[-2:]:  # patches overlap
        return cell_occlusion(model, images, class_index, (rows, cols))
    from captum.attr import Occlusion

    window = (images.shape[1], patch, patch)
    found = Occlusion(model).attribute(
        images, window, strides=window, baselines=0, target=class_index, perturbations_per_eval=TOGETHER
    )  # (1, 3, H, W), the same value all over a patch
    return found[0, 0, ::patch, ::patch].flatten()


@torch.no_grad()
def cell_occlusion(model: nn.Module, images: Tensor, class_index: int, grid: tuple[int, int]) -> Tensor:
    """The same where patches overlap: the photo in rows and columns of equal cells, one covered at a time, (N,)."""
    from captum.attr import FeatureAblation

    rows, cols = grid
    down, right = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    cells = (down * rows // len(down))[:, None] * cols + right * cols // len(right)  # (H, W), from 0 to N - 1
    found = FeatureAblation(model).attribute(
        images, baselines=0, target=class_index, feature_mask=cells[None, None], perturbations_per_eval=TOGETHER
    )  # (1, 3, H, W), the same value all over a cell
    return found.new_zeros(rows * cols).index_copy_(0, cells.flatten(), found[0, 0].flatten())


@torch.no_grad()
def class_rollout(model: nn.Module, images: Tensor, name: str = "This model") -> tuple[Tensor, tuple[int, ...]]:
    """Rollout of the class token over the patches, (N,), and the blocks that are no attention and were passed over.

    With two class tokens (a distilled model) the mean of both, as their answers are averaged too. An LV-ViT's answer
    also looks at patches directly, through its auxiliary head; that way is not in a rollout.

    Raises:
        InputError: If no block is an attention, or the grid changes from block to block.
    """
    backbone = backbone_of(model)
    family = family_of(backbone)
    if family.NO_ROLLOUT is not None:
        raise InputError(f"{name} {family.NO_ROLLOUT}.")
    attends = [isinstance(block.attn, Attention) for block in family.blocks_of(backbone)]
    if not any(attends):
        raise InputError(f"No block of {name} is an attention any more, so there is nothing to roll out.")
    seen: list[Tensor | None] = [None] * len(attends)

    def look(index: int) -> Callable[..., None]:
        def hook(attn: Attention, args: tuple[Tensor, ...]) -> None:
            seen[index] = looks(attn, args[0])[0].mean(dim=0).cpu()  # (T, T)

        return hook

    handles = [
        block.attn.register_forward_pre_hook(look(index))
        for index, block in enumerate(family.blocks_of(backbone))
        if attends[index]
    ]
    prefix, merges = backbone.num_prefix_tokens, {}
    try:
        if isinstance(model, SoftTokenViT):
            merges = merges_of(model.blocks, model.run(images)[1], prefix)
        else:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    readers = 2 if hasattr(backbone, "head_dist") else 1
    tokens = prefix + backbone.patch_embed.num_patches
    reach = rollout(seen, merges, tokens)[:readers].mean(dim=0)  # (P + N,)
    return reach[prefix:], tuple(i for i, attending in enumerate(attends) if not attending)
