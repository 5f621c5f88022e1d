"""Are pruned tokens really gone? The same decisions, once with tokens removed and once with them only masked."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.costs.grids import dense_tokens, pools
from core.costs.macs import count_macs
from core.costs.windows import Pairs, dense_pairs, masked_pairs
from core.latency.measure import measure_latency
from core.models.load import Loaded
from core.results.timings import Latency
from core.soft_tokens.decide import Decide
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.selector import Scores
from core.soft_tokens.stages import image_macs, tokens_per_block


@dataclass(frozen=True)
class Removal:
    """One image through the model without its selectors, with its tokens masked, and with its tokens removed."""

    logit_gap: float
    """Largest difference of a logit, masked against removed."""
    same_decisions: bool
    """Both kept the same patches at every selector."""
    removed_tokens: tuple[int, ...]
    """Tokens that each block computes when they are removed, L of them."""
    masked_tokens: tuple[int, ...]
    """The same when they are masked: all patches, and the packages that can be there behind the selectors."""
    dense_macs: int
    """Without selectors; of a model that single-path pruning has changed too, those of what it left."""
    masked_macs: int
    removed_macs: int
    dense: Latency
    masked: Latency
    removed: Latency


@torch.inference_mode()
def compare_removal(loaded: Loaded, images: Tensor, decide: Decide, repeats: int = 20) -> Removal:
    """Run one image the three ways, and time them in turns.

    Args:
        loaded: A model with token selectors.
        images: (1, 3, H, W), normalised.
        decide: How scores become decisions, for both ways.
        repeats: Timed passes of each way; at least 4, so that quartiles mean something.

    Raises:
        ValueError: If the model has no token selectors, or there are too few repeats.
    """
    model, geometry = loaded.model, loaded.card.geometry
    if not isinstance(model, SoftTokenViT):
        raise ValueError(f"{loaded.spec.name} has no token selectors")

    def by_mask(stage: int, scores: Scores, alive: Tensor) -> Tensor:
        return decide(stage, scores, alive > 0).to(alive.dtype)

    remove = partial(model.run, decide=decide)
    mask = partial(masked_forward, model.backbone, model.by_block(), decide=by_mask, packaging=model.packaging)
    removed, stages = remove(images)
    masked, _, masked_stages = mask(images)
    many = not pools(geometry)
    passed = [sum(at <= block for at in model.blocks) for block in range(geometry.depth)]
    packages = passed if many else [min(1, count) for count in passed]
    masked_tokens = [dense + more for dense, more in zip(dense_tokens(geometry), packages, strict=True)]
    seen = [(count + (at if many else min(1, at)), count) for at, count in enumerate(model.patches)]
    layers = {"mixers": model.layers.mixers, "ffn_hidden": model.layers.ffn_hidden}
    choosing = {"selectors": seen, "blocks": model.blocks, "ranked": model.layers.ranked}
    if windows := geometry.windows():
        full = [masked_pairs(one) if at else dense_pairs(one) for one, at in zip(windows, packages, strict=True)]
        choosing["pairs"] = Pairs(tuple(full), tuple(masked_pairs(windows[at]) for at in model.blocks))
    works = [model.backbone, mask, partial(remove, record=False)]
    dense, masking, removing = measure_latency(works, images, repeats=repeats)
    return Removal(
        logit_gap=float((masked - removed).abs().max()),
        same_decisions=all(bool((a.kept == b.kept).all()) for a, b in zip(stages, masked_stages, strict=True)),
        removed_tokens=tuple(tokens_per_block(geometry, model.blocks, stages)[0].tolist()),
        masked_tokens=tuple(masked_tokens),
        dense_macs=count_macs(geometry, **layers).total,
        masked_macs=count_macs(geometry, tokens=masked_tokens, **choosing, **layers).total,
        removed_macs=image_macs(geometry, model.blocks, stages, model.layers)[0].total,
        dense=dense,
        masked=masking,
        removed=removing,
    )
