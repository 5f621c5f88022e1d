"""A model and a photo in, a finding out: what it predicts, and which patches it kept."""

import torch
from PIL import Image

from core.checkpoints import Loaded
from core.errors import InputError
from core.images import to_tensor
from core.macs import count_macs
from core.results import MacCount, Prediction, TokenTrace
from core.soft_tokens.decide import Decide
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.stages import image_macs, tokens_per_block


@torch.inference_mode()
def predict(loaded: Loaded, image: Image.Image) -> Prediction:
    """What the model says about the photo."""
    return prediction_of(loaded, loaded.model(_input(loaded, image)))


@torch.inference_mode()
def trace_tokens(loaded: Loaded, image: Image.Image, decide: Decide | None = None) -> TokenTrace:
    """Which patches of the photo the model keeps, stage by stage, what it says, and what that cost.

    Args:
        loaded: A model with token selectors.
        image: The photo.
        decide: In place of the model's own way to decide; the model itself stays as it is.

    Raises:
        ValueError: If the model has no token selectors.
    """
    model = loaded.model
    if not isinstance(model, SoftTokenViT):
        raise ValueError(f"{loaded.spec.name} has no token selectors")
    logits, stages = model.run(_input(loaded, image), decide)
    geometry = loaded.card.geometry
    return TokenTrace(
        grid=geometry.grid,
        blocks=model.blocks,
        kept=torch.stack([stage.kept[0] for stage in stages]).cpu().numpy(),
        keep_prob=torch.stack([stage.keep_prob[0] for stage in stages]).cpu().double().numpy(),
        package_weight=torch.stack([stage.package_weight[0] for stage in stages]).cpu().double().numpy(),
        per_head=torch.stack([stage.per_head[0] for stage in stages]).cpu().double().numpy(),
        importance=torch.stack([stage.importance[0] for stage in stages]).cpu().double().numpy(),
        tokens=tuple(tokens_per_block(geometry, model.blocks, stages)[0].tolist()),
        prediction=prediction_of(loaded, logits),
        macs=image_macs(geometry, model.blocks, stages, model.layers)[0],
        dense_macs=loaded.dense_macs,
    )


def answer(loaded: Loaded, image: Image.Image) -> tuple[Prediction, MacCount]:
    """What any model says about the photo, and what that cost."""
    if isinstance(loaded.model, SoftTokenViT):
        found = trace_tokens(loaded, image)
        return found.prediction, found.macs
    return predict(loaded, image), macs_of(loaded)


def macs_of(loaded: Loaded) -> MacCount:
    """MACs of one image through a model whose cost does not depend on the image."""
    architecture = loaded.architecture
    if architecture is None:
        return count_macs(loaded.card.geometry)
    return count_macs(loaded.card.geometry, mixers=architecture.mixers, ffn_hidden=architecture.ffn_hidden)


def _input(loaded: Loaded, image: Image.Image) -> torch.Tensor:
    """The photo on the model's device."""
    return to_tensor(image, loaded.card).to(next(loaded.model.parameters()).device)


def prediction_of(loaded: Loaded, logits: torch.Tensor) -> Prediction:
    """What logits (B, C) say of the first image: their softmax.

    Raises:
        InputError: If the logits are no numbers.
    """
    if not logits[0].isfinite().all():
        raise InputError(f"{loaded.spec.name} gives answers that are no numbers; its weights are damaged.")
    return Prediction(logits[0].double().softmax(dim=-1).cpu().numpy(), loaded.card.classes)
