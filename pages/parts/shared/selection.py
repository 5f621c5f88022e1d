"""Who decides which patches stay: the model, a keep ratio, or a threshold."""

from typing import Any

import streamlit as st

from core.config import KEEP_RANGE, THRESHOLD_RANGE, ModelSpec
from pages.parts.shared import bound, links, ranking, runs
from pages.server import inference, keeping, models
from viz.theme import percent

MODES = ("Keep ratio", "The model", "Threshold")
"""The first one is usual, as on all pages: a model may decide to keep next to nothing of a photo."""
RANKED_MODES = ("Keep ratio", "Attention mass")
"""Of a model without selectors, whose patches are ranked by class attention."""
KEEP_STEPS = KEEP_RANGE.values
nearest_step = links.nearest(KEEP_STEPS)


def pick_mode(name: str) -> str:
    """How patches are chosen, in the URL as `method`: one of `MODES`, or of `RANKED_MODES`."""
    ranked = not models.loaded(ModelSpec(name)).kind.pruned
    modes = RANKED_MODES if ranked else MODES
    usual = links.bring("method", modes[0], links.one_of(modes))
    return st.segmented_control(
        "Selection rule",
        modes,
        default=usual,
        key="method",
        bind="query-params",
        required=True,
        help="A keep ratio keeps the same number of patches in every photo; an attention mass the fewest patches that "
        "hold this share of the class token's attention (without one: all tokens'), more in busy photos."
        if ranked
        else "The model's own decision differs from photo to photo; a keep ratio forces the same number of patches; "
        "a threshold keeps whatever scores above it.",
    )


def pick_spec(name: str, mode: str) -> tuple[ModelSpec, float | None]:
    """The model with the setting of this mode, and the keep ratio where that decides."""
    blocks = None if models.loaded(ModelSpec(name)).kind.pruned else ranking.pick_blocks(name)
    if mode == "Keep ratio":
        ratio = keep_ratio()
        return keeping.keep_spec(name, ratio, blocks), ratio
    if mode == "Attention mass":
        return ModelSpec(name, mass=ranking.pick_mass(), blocks=blocks), None
    if mode == "Threshold":
        return ModelSpec(name, threshold=pick_threshold()), None
    return ModelSpec(name), None


def setting_text(spec: ModelSpec) -> str:
    """How patches were chosen, to stand before what came of it: a control shows the next setting before its answer."""
    if spec.keep is not None:
        return f"Keep ratio {percent(spec.keep[0])}: "  # of the first selector, which is the ratio of each
    if spec.mass is not None:
        return f"Attention mass {percent(spec.mass)}: "
    return "" if spec.threshold is None else f"Threshold {spec.threshold:.2f}: "


def keep_ratio() -> float:
    """The keep ratio that the player's slider is set to, in the URL as `keep`; one of `KEEP_STEPS`."""
    return bound.held("keep", KEEP_RANGE.usual, nearest_step)


def pick_threshold() -> float:
    """The keep probability above which a patch stays, in the URL as `threshold`."""
    return links.share(
        "threshold",
        "Keep a patch if its keep probability is above",
        THRESHOLD_RANGE,
        "The same for all selectors. At 0 every patch stays.",
    )


def prepare(place: Any, name: str, image_id: str, blocks: tuple[int, ...] | None) -> None:
    """Run the model at each of `KEEP_STEPS`, after all else is on the page; then the slider's picture moves live."""
    traces = {}
    for done, ratio in enumerate(KEEP_STEPS):
        text = f"Preparing the slider: keep ratio {done + 1} of {len(KEEP_STEPS)}."
        place.progress(done / len(KEEP_STEPS), text)
        traces[ratio] = inference.token_trace(keeping.keep_spec(name, ratio, blocks), image_id)
    runs.prepared((name, blocks), image_id, traces)
    st.rerun()
