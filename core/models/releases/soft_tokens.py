"""DeiT and LV-ViT checkpoints trained with the code of Kong et al. (arXiv:2112.13890), with their token selectors.

There is no public one; people train them. Beside timm's keys a file has `score_predictor.{s}.` for selector s: `senet`
weighs the heads, `in_conv.{h}` and `out_conv.{h}` score on the channels of head h. The release builds every head from
one layer, so that its heads are equal, but stores it H times; here each head is read as its own. What a file does not
say is where its selectors stand, and how their scores decide: the release draws at random, even at evaluation, so
whether the plain comparison of its scores means anything is not known.
"""

from pathlib import Path

import torch
from torch import Tensor

from core.costs.lvvit import LvvitGeometry
from core.errors import InputError, printable
from core.families import lvvit
from core.families.families import family_of_geometry
from core.models.cards import ModelCard, SelectorCard
from core.models.file_kinds import shown
from core.models.releases.lvvit import guesses, is_lvvit, lvvit_geometry
from core.models.releases.plain import NORMALISATION, deit_geometry, released_classes
from core.models.releases.told import NOTHING
from core.models.weights import check_room, load_weights
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import RELEASE_TARGETS

START = "score_predictor."
LAYERS = {
    "norm": ("in_conv", 0),
    "embed": ("in_conv", 1),
    "reduce": ("out_conv", 0),
    "mix": ("out_conv", 2),
    "score": ("out_conv", 4),
}
"""Layers that every head has: our name, and the list and place that hold it in a file."""
RATE = 0.7
"""Share of what reaches it that each selector keeps, where the release fixes no targets: its default base rate."""


def is_soft_tokens(state: dict[str, Tensor]) -> bool:
    """Whether these weights have token selectors in the layout of the release."""
    return any(key.startswith(START) for key in state)


def read_soft_tokens(state: dict[str, Tensor], path: Path) -> tuple[SoftTokenViT, ModelCard]:
    """The model of such a file, deciding by its own scores: keep where the keep score is not below the other.

    S selectors stand evenly spaced in the L blocks, selector s (from 1) before block floor(s L / (S + 1)), counted
    from 0: before 3, 6 and 9 of 12, as in the release; files of other depths are read by the same rule. The targets on
    the card are the release's for three selectors, else powers of 0.7.

    Args:
        state: Weights under the release's names; heads of any width of 8 channels or more.
        path: For errors.

    Raises:
        InputError: If selector weights are missing, too many or of other widths, or the rest is no DeiT or LV-ViT.
    """
    left = dict(state)
    parts = _take_selectors(left, path)
    read = lvvit_geometry if is_lvvit(left) else deit_geometry
    geometry = read(left, path, heads=len(parts[0]["norm.weight"]))
    module = family_of_geometry(geometry)
    check_room(geometry, state, path)
    if len(parts) >= geometry.depth:
        raise InputError(
            f"{shown(path)} has {len(parts)} token selectors, more than fit between {geometry.depth} blocks."
        )
    blocks = tuple(number * geometry.depth // (len(parts) + 1) for number in range(1, len(parts) + 1))
    model = SoftTokenViT(module.build(geometry), blocks)
    weights = {f"backbone.{key}": value for key, value in left.items()}
    for block, part in zip(blocks, parts, strict=True):
        weights |= {f"selectors.{block}.{key}": value for key, value in part.items()}
    load_weights(model, weights, path, "of a DeiT or LV-ViT with token selectors")
    targets = RELEASE_TARGETS if len(parts) == 3 else tuple(RATE**number for number in range(1, len(parts) + 1))
    told = {"command": "trained with the code of Kong et al., arXiv:2112.13890"}
    return model, ModelCard(
        module.FAMILY,
        geometry,
        released_classes(geometry.classes),
        lvvit.normalisation(geometry) if isinstance(geometry, LvvitGeometry) else NORMALISATION,
        selectors=SelectorCard(blocks, targets, trained=False),
        training=told,
        notes=guesses(geometry, NOTHING) if isinstance(geometry, LvvitGeometry) else (),
    )


def _take_selectors(left: dict[str, Tensor], path: Path) -> list[dict[str, Tensor]]:
    """Each selector's weights under our names, in order; they are taken out of `left`.

    Raises:
        InputError: If some are missing, too many, or do not fit the width of the tokens.
    """
    stored = [key.split(".") for key in left if key.startswith(START)]
    try:
        heads = len({words[3] for words in stored if words[2] == "in_conv"})
        width = len(left["patch_embed.proj.weight"])
        parts = [_take_selector(left, f"{START}{number}.", heads) for number in range(len({w[1] for w in stored}))]
    except (KeyError, IndexError, RuntimeError, TypeError) as error:
        detail = printable((str(error).splitlines() or [""])[0].strip("'"))
        raise InputError(
            f"{shown(path)} lacks weights of a DeiT with token selectors, or they do not fit ({detail})."
        ) from error
    unread = [key for key in left if key.startswith(START)]
    if unread:
        raise InputError(f"{shown(path)} has token selectors with weights that are not known here ({unread[0]}).")
    channels = parts[0]["norm.weight"].shape[-1]
    if heads * channels != width:
        raise InputError(
            f"{shown(path)} has token selectors with {heads} heads of {channels} channels, but tokens of {width} "
            "channels."
        )
    return parts


def _take_selector(left: dict[str, Tensor], start: str, heads: int) -> dict[str, Tensor]:
    """One selector's weights, stacked over the heads where every head has its own; they are taken out of `left`."""
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        for name, (group, place) in LAYERS.items():
            each = [left.pop(f"{start}{group}.{head}.{place}.{kind}") for head in range(max(1, heads))]
            found[f"{name}.{kind}"] = torch.stack(each)  # (H, ...)
        for place in (0, 2):
            found[f"importance.{place}.{kind}"] = left.pop(f"{start}senet.{place}.{kind}")
    return found
