"""What a joint model starts from: a single-path model made compact for one budget, to put token selectors into."""

from dataclasses import replace

from torch import nn

from core.commands.loading import tell_snapped
from core.commands.requests import FinetuneRequest
from core.commands.shared import parse_budget, say
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.methods import SOFT_TOKENS, check_takes
from core.models.cards import ModelCard
from core.models.export import exported_card
from core.models.load import Loaded, finish
from core.photos.class_folders import match_folders, split_roots
from core.single_path.model import SinglePathViT


def makes_joint(args: FinetuneRequest, module: nn.Module, card: ModelCard) -> bool:
    """Whether this model and these flags ask for selectors in a single-path model."""
    return card.compact is not None or (isinstance(module, SinglePathViT) and args.targets is not None)


def joint_start(args: FinetuneRequest, module: nn.Module, card: ModelCard) -> tuple[Loaded, list[str]]:
    """The compact model with its card, and the data's folders in the order of its classes.

    Args:
        args: With `model`, `budget`, `targets` and `data`.
        module: A searched model, or a compact one.
        card: Of it.

    Raises:
        InputError: If it has selectors already, no budget or one that it cannot meet was given, or no targets.
    """
    check_takes(SOFT_TOKENS, card.family)
    if card.selectors is not None:
        raise InputError(f"{args.model} has token selectors already; give the single-path model that it came from.")
    if args.targets is None:
        raise InputError(f"{args.model} is compact; give --targets to put token selectors into it.")
    dense = count_macs(card.geometry).total
    budget = None if args.budget is None else parse_budget(args.budget, dense)
    if card.compact is None:
        if budget is None:
            raise InputError("A joint model is made for one budget: give --budget, such as 60%, beside --targets.")
        found = finish(ModelSpec(args.model, budget=budget), card, module)
        tell_snapped(found)
    else:
        found = finish(ModelSpec(args.model), card, module)
    chosen, compact = found.architecture, exported_card(found).compact
    assert chosen is not None  # it is a single-path model
    assert compact is not None
    if card.compact is not None and budget is not None and budget < chosen.macs * (1 - 1e-9):
        raise InputError(
            f"{args.model} is compact with {chosen.macs / 1e9:.4g} GMACs; give that --budget or more, or a model with "
            "gates."
        )
    made = replace(compact, stored_params=None)  # trained in the form that is stored
    folders, _ = match_folders(split_roots(args.data, "train"), card.classes, least=2)
    say(f"A single-path model of {chosen.macs / 1e9:.4g} GMACs ({dense / 1e9:.4g} dense)")
    return replace(found, card=replace(card, single_path=None, compact=made)), folders
