"""`train`, `finetune` and `search`: from an ImageFolder to a weights file in a run's folder."""

import argparse
import copy
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

from timm.optim import create_optimizer_v2

from core.backbones import deit
from core.cards import ModelCard, SelectorCard, SinglePathCard, TeacherCard, class_names
from core.checkpoints import Loaded, load, read_model
from core.commands.session import add_loop, open_session
from core.commands.shared import add_common, numbers, parse_budget
from core.config import Geometry, ModelSpec, Normalisation
from core.errors import InputError
from core.evaluate import dense_runner, paired_difference, random_runner, token_runner
from core.macs import count_macs
from core.single_path.calibrate import calibrate as calibrate_budgets
from core.single_path.calibrate import use_budget
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of, settled
from core.single_path.model import SinglePathViT
from core.single_path.search import cost_weight
from core.soft_tokens.decide import check_keep
from core.soft_tokens.model import SoftTokenViT
from core.training import teachers
from core.training.budgets import BudgetStep
from core.training.data import class_folders, match_folders, read_class_list, split_root
from core.training.dense import DenseStep
from core.training.search import SearchStep, search_groups, weight_groups
from core.training.tokens import TokenSettings, TokenStep, calibrate, token_groups

WITHIN = 0.02
"""A selector meets its target when its kept share on the validation photos, unseen in training, is this close."""
CALIBRATION_BATCHES = 4
"""Batches of 128 held-out photos on which batch norms are calibrated; a few hundred photos are enough."""
RANDOM_DRAWS = 5
"""Draws of random dropping that the verdict is taken against."""


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Add the training commands."""
    train = commands.add_parser("train", help="train a dense ViT on an ImageFolder")
    add_common(train)
    add_loop(train, epochs=24, lr=1.2e-3)
    train.add_argument("--model", help="a deit_* or vit_* of timm; default: a small ViT of the size below")
    train.add_argument("--pretrained", action="store_true", help="start from timm's weights, with a new head")
    train.add_argument(
        "--as-teacher",
        action="store_true",
        help="train any classifier of timm, such as resnet18, to teach others; it cannot be pruned",
    )
    train.add_argument("--img-size", type=int, help="pixels (default: timm's for --model, else 64)")
    train.add_argument(
        "--stem", default="32,64,128", help="channels of the stride-2 convolutions (default %(default)s)"
    )
    train.add_argument("--width", type=int, default=128)
    train.add_argument("--depth", type=int, default=12)
    train.add_argument("--heads", type=int, default=4)
    train.add_argument("--drop-path", type=float, default=0.05)
    train.add_argument(
        "--classes", type=Path, help="text file with the class folders to use, one a line (default: all)"
    )
    train.set_defaults(run=run_train)

    tokens = commands.add_parser(
        "finetune", help="train on: a dense model with token selectors, or a searched model for any budget"
    )
    add_common(tokens)
    add_loop(tokens, epochs=10, lr=1e-3, mixup=0.0, cutmix=0.0)
    tokens.add_argument("--model", required=True, help="a dense or a searched model: a name or a weights file")
    tokens.add_argument("--teacher", help="for a searched model: the dense model that it came from")
    tokens.add_argument(
        "--least", default="30%", help="for a searched model: the smallest budget (default %(default)s)"
    )
    tokens.add_argument(
        "--selectors", default="3,6,9", help="blocks before which they stand, from 0 (default %(default)s)"
    )
    tokens.add_argument(
        "--targets", default="0.617,0.369,0.137", help="share of the patches alive after each (default %(default)s)"
    )
    tokens.add_argument("--backbone-lr", type=float, default=2.5e-4)
    tokens.add_argument("--wait-epochs", type=float, default=1.0, help="the backbone stands still that long")
    tokens.set_defaults(run=run_finetune)

    search = commands.add_parser("search", help="put gates into a dense model and learn which to close")
    add_common(search)
    add_loop(search, epochs=10, lr=2e-4)
    search.add_argument("--model", required=True, help="the dense model: a name or a weights file")
    search.add_argument("--budget", default="60%", help="GMACs, or a share of dense such as 60%% (default %(default)s)")
    search.add_argument("--gate-lr", type=float, default=1e-3)
    search.add_argument(
        "--cost-weight", type=float, help="lambda; default: the paper's for DeiT-T, scaled to the model"
    )
    search.add_argument(
        "--alpha", type=float, default=0.01, help="temperature of the head mixing (default %(default)s)"
    )
    search.set_defaults(run=run_search)


def run_train(args: argparse.Namespace) -> tuple[dict, str]:
    """Train a dense model."""
    folders = class_folders(split_root(args.data, "train"))
    if args.classes is not None:
        folders = read_class_list(args.classes, folders)
    if (args.pretrained or args.as_teacher) and args.model is None:
        raise InputError("--pretrained and --as-teacher need --model, a name of timm's.")
    if args.as_teacher:
        return _train_teacher(args, folders)
    if args.model is not None:
        size = {"classes": len(folders), "img_size": args.img_size}
        model = deit.from_timm(args.model, pretrained=args.pretrained, **size)
        geometry, norm = deit.geometry_of(model, args.model), deit.normalisation_of(model)
    else:
        geometry = _own_geometry(args, len(folders))
        model, norm = deit.build(geometry, drop_path=args.drop_path), Normalisation()
    card = ModelCard(deit.FAMILY, geometry, class_names(folders), norm)
    session = open_session(args, card, folders, hold_out=False)
    macs = count_macs(geometry).total

    def after_epoch(step: DenseStep, epoch: int) -> dict:
        found = session.validate(dense_runner(step.model, macs))
        session.save(step.model, card, {"epochs": epoch, "val_top1": found.top1})
        return {"val_top1": found.top1, "val_top5": found.top5, "val_images": found.images}

    step = DenseStep(model)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=args.lr, weight_decay=args.weight_decay)
    return session.fit(step, optimizer, after_epoch)


def _train_teacher(args: argparse.Namespace, folders: list[str]) -> tuple[dict, str]:
    """Train any classifier of timm, for others to learn from."""
    model = teachers.build(args.model, len(folders), pretrained=args.pretrained)
    size = args.img_size or model.pretrained_cfg["input_size"][-1]
    macs = teachers.counted_macs(model, size)
    norm = replace(deit.normalisation_of(model), crop_pct=1.0)
    card = TeacherCard(args.model, size, macs, class_names(folders), norm)
    session = open_session(args, card, folders, hold_out=False)

    def after_epoch(step: DenseStep, epoch: int) -> dict:
        found = session.validate(dense_runner(step.model, macs))
        session.save(step.model, card, {"epochs": epoch, "val_top1": found.top1})
        return {"val_top1": found.top1, "val_top5": found.top5, "val_images": found.images}

    optimizer = create_optimizer_v2(model, opt="adamw", lr=args.lr, weight_decay=args.weight_decay)
    return session.fit(DenseStep(model), optimizer, after_epoch)


def run_finetune(args: argparse.Namespace) -> tuple[dict, str]:
    """Put selectors into a dense model and train both; or train a searched model on, for any budget."""
    if args.teacher is not None:
        return run_any_budget(args)
    dense, folders = _dense_start(args.model, args.data)
    blocks, targets = numbers(args.selectors, int, "--selectors"), numbers(args.targets, float, "--targets")
    check_keep(targets, len(blocks), flag="--targets")
    model = SoftTokenViT(copy.deepcopy(dense.model).requires_grad_(True), blocks)
    settings = TokenSettings(targets)
    session = open_session(args, dense.card, folders, hold_out=True)
    geometry = dense.card.geometry

    def after_epoch(step: TokenStep, epoch: int) -> dict:
        calibrate(step.model.eval(), session.held_out_loader(), targets)
        found = session.validate(token_runner(step.model, geometry))
        draws = range(RANDOM_DRAWS if epoch == args.epochs else 1)
        rivals = [session.validate(random_runner(step.model, geometry, args.seed + draw)) for draw in draws]
        gain, margin = paired_difference(found, *rivals)
        met = all(abs(k - t) <= WITHIN for k, t in zip(found.mean_kept, targets, strict=True))
        card = replace(dense.card, selectors=SelectorCard(tuple(blocks), targets, met and gain > margin))
        session.save(step.model, card, {"epochs": epoch, "val_top1": found.top1, "dense": args.model})
        return {
            "val_top1": found.top1,
            "val_macs": found.mean_macs / found.dense_macs,
            "val_kept": list(found.mean_kept),
            "random_top1": sum(rival.top1 for rival in rivals) / len(rivals),
            "gain_over_random": gain,
            "gain_interval": margin,
            "trained": card.selectors.trained,
        }

    step = TokenStep(model, dense.model, settings)
    groups = token_groups(
        model, lr=args.lr, backbone_lr=args.backbone_lr, weight_decay=args.weight_decay, wait=args.wait_epochs
    )
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=args.lr), after_epoch)


def run_search(args: argparse.Namespace) -> tuple[dict, str]:
    """Put gates into a dense model and learn which to close."""
    dense, folders = _dense_start(args.model, args.data)
    geometry = dense.card.geometry
    budget = parse_budget(args.budget, dense.dense_macs)
    if not args.alpha > 0 or not args.gate_lr > 0:
        raise InputError("--alpha and --gate-lr take numbers above 0.")
    weight = cost_weight(geometry) if args.cost_weight is None else args.cost_weight
    model = SinglePathViT(copy.deepcopy(dense.model).requires_grad_(True), args.alpha)
    session = open_session(args, dense.card, folders, hold_out=False)

    def after_epoch(step: SearchStep, epoch: int) -> dict:
        reached = settled(gates_of(step.model, geometry))
        found = session.validate(dense_runner(step.model, reached.macs))
        card = replace(dense.card, single_path=SinglePathCard(args.alpha, fit_to_predict=False))
        told = {"epochs": epoch, "asked_macs": budget, "achieved_macs": reached.macs, "val_top1": found.top1}
        session.save(step.model, card, {**told, "dense": args.model})
        return {
            "asked_gmacs": budget / 1e9,
            "achieved_gmacs": reached.macs / 1e9,
            "val_top1": found.top1,
            "mixers": list(reached.mixers),
            "ffn_hidden": list(reached.ffn_hidden),
        }

    step = SearchStep(model, geometry, budget=budget, weight=weight, teacher=dense.model)
    groups = search_groups(model, lr=args.lr, gate_lr=args.gate_lr, weight_decay=args.weight_decay)
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=args.lr), after_epoch)


def run_any_budget(args: argparse.Namespace) -> tuple[dict, str]:
    """Train a searched model on, with a budget drawn at random at each step, and calibrate it for a grid of budgets."""
    dense, folders = _dense_start(args.teacher, args.data)
    searched, card = read_model(args.model)
    if not isinstance(searched, SinglePathViT):
        raise InputError(f"{args.model} has no gates; give what `search` wrote, or leave --teacher away.")
    first = math.ceil(100 * parse_budget(args.least, dense.dense_macs) / dense.dense_macs)
    if first > 100:
        raise InputError(f"--least is a budget up to that of the dense model; {args.least} is more.")
    shares = tuple(percent / 100 for percent in range(first, 101))
    derive(gates_of(searched, card.geometry), shares[0] * dense.dense_macs)  # refuses what cannot be reached
    model = SinglePathViT(searched.backbone, searched.alpha, shares)
    model.paths.load_state_dict(searched.paths.state_dict())
    session = open_session(args, card, folders, hold_out=True)
    geometry = card.geometry

    def after_epoch(step: BudgetStep, epoch: int) -> dict:
        last = epoch == args.epochs
        if last:
            photos = (
                images.to(session.accelerator.device)
                for images, _ in islice(session.held_out_loader(), CALIBRATION_BATCHES)
            )
            calibrate_budgets(step.model, geometry, photos)
        found = {}
        for share in set(shares) & {1.0, 0.75, 0.6, 0.45} if last else ():
            use_budget(step.model, shares.index(share))
            chosen = derive(step.gates, share * dense.dense_macs)
            runner = dense_runner(compact(step.model, chosen), chosen.macs)
            found[f"val_top1_at_{share:.0%}"] = session.validate(runner).top1
        done = SinglePathCard(searched.alpha, fit_to_predict=last, budgets=shares)
        session.save(step.model, replace(card, single_path=done), {"epochs": epoch, "teacher": args.teacher, **found})
        return found

    step = BudgetStep(model, geometry, dense.model, least=shares[0])
    groups = weight_groups(model, args.weight_decay)
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=args.lr), after_epoch)


def _dense_start(name: str, data: Path) -> tuple[Loaded, list[str]]:
    """The dense model to start from, and the data's folders in the order of its classes.

    Raises:
        InputError: If the model is pruned already.
    """
    loaded = load(ModelSpec(name), download=True)
    if loaded.method != "dense":
        raise InputError(f"{name} is pruned already; give the dense model that it came from.")
    folders, _ = match_folders(split_root(data, "train"), loaded.card.classes)
    return loaded, folders


def _own_geometry(args: argparse.Namespace, classes: int) -> Geometry:
    """What the size flags of `train` describe.

    Raises:
        InputError: If no model has that size.
    """
    stem = numbers(args.stem, int, "--stem")
    img_size = 64 if args.img_size is None else args.img_size
    try:
        return Geometry(img_size, 2 ** len(stem), args.width, args.depth, args.heads, 4 * args.width, classes, stem)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"That size of model is not possible: {error}.") from error
