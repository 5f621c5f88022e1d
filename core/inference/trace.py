"""A model and a photo in, a finding out: what it predicts, and which patches it kept."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from core.costs.geometry import Geometry
from core.costs.grids import dense_tokens, pools
from core.errors import InputError
from core.families.families import family
from core.models.load import Loaded
from core.models.macs import macs_of
from core.photos.image import to_tensor
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
        kept=_rows([stage.kept for stage in stages], geometry.patches, 0).astype(bool),
        keep_prob=_rows([stage.keep_prob for stage in stages], geometry.patches, np.nan),
        package_weight=_rows([stage.package_weight for stage in stages], geometry.patches, 0),
        per_head=_rows([stage.per_head for stage in stages], geometry.patches, np.nan),
        importance=_rows([stage.importance for stage in stages], geometry.patches, np.nan),
        tokens=tuple(tokens_per_block(geometry, model.blocks, stages)[0].tolist()),
        prediction=prediction_of(loaded, logits),
        macs=image_macs(geometry, model.blocks, stages, model.layers)[0],
        dense_macs=loaded.dense_macs,
        first=family(loaded.card.family).first_words(geometry),
        **_pooled(geometry, model.blocks),
    )


def _rows(batches: Sequence[torch.Tensor | None], patches: int, empty: float) -> np.ndarray:
    """Per selector the first image of (B, n, ...), filled up to `patches` and to the most heads, (S, N, ...)."""
    values = [batch[0] for batch in batches if batch is not None]
    most = max(value.shape[-1] for value in values) if values[0].dim() > 1 else None
    found = np.full((len(values), patches, *([] if most is None else [most])), empty, np.float64)
    for row, value in zip(found, values, strict=True):
        row[tuple(slice(size) for size in value.shape)] = value.cpu().double().numpy()
    return found


def _pooled(geometry: Geometry, blocks: Sequence[int]) -> dict:
    """What a trace says besides where a family pools."""
    if not pools(geometry):
        return {}
    grids = tuple(geometry.block_grids[block] for block in blocks)
    return {"grids": grids, "dense_tokens": dense_tokens(geometry), "one_package": True}


def answer(loaded: Loaded, image: Image.Image) -> tuple[Prediction, MacCount]:
    """What any model says about the photo, and what that cost."""
    if loaded.kind.selects:
        found = trace_tokens(loaded, image)
        return found.prediction, found.macs
    return predict(loaded, image), macs_of(loaded)


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
    return Prediction(logits[0].double().softmax(dim=-1).cpu().numpy(), loaded.card.classes, loaded.card.least_share)
