"""A joint model small enough to test on: what single-path pruning left, with wild selectors in it."""

from dataclasses import replace
from pathlib import Path

import torch

from core.costs.macs import count_macs
from core.models.cards import CompactCard, ModelCard, SelectorCard
from core.models.weights import save_checkpoint
from core.results import Architecture
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from core.soft_tokens.mixers import first_place
from core.soft_tokens.model import SoftTokenViT
from tests.tiny import CARD, TINY, single_path_model

MIXED = (0, 0.9)
"""Seed and share of a model with an attention, a 3x3 and a 1x1 convolution, and an attention again."""


def joint_model(seed: int, share: float, *, passes: bool = False) -> tuple[SoftTokenViT, Architecture]:
    """Selectors before every block that may have one, in a compact model derived for this share of the dense MACs."""
    searched = single_path_model(seed)
    searched.prefix_passes = passes
    chosen = derive(gates_of(searched, TINY), share * count_macs(TINY).total)
    plain = compact(searched, chosen)
    blocks = tuple(range(first_place(chosen.mixers), TINY.depth))
    torch.manual_seed(seed)
    model = SoftTokenViT(plain, blocks, heads=TINY.heads).eval()
    with torch.no_grad():
        for parameter in model.selectors.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model, chosen


def joint_card(model: SoftTokenViT, made: Architecture, *, passes: bool = False) -> ModelCard:
    """What a file with this model says of itself."""
    return replace(
        CARD,
        compact=CompactCard(made.mixers, made.ffn_hidden, made.asked_macs, prefix_passes=passes),
        selectors=SelectorCard(model.blocks, tuple(0.7**stage for stage in range(1, len(model.blocks) + 1)), True),
        training={"val_top1": 0.9},
    )


def save_joint(path: Path, seed: int = MIXED[0], share: float = MIXED[1]) -> Path:
    """A weights file of a joint model."""
    model, made = joint_model(seed, share)
    save_checkpoint(path, model, joint_card(model, made), half=False)
    return path
