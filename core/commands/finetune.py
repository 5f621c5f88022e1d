"""`finetune`: what follows: selectors in a dense or a single-path model, or a searched model trained on for budgets."""

import argparse
import copy
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import accumulate

import timm
import torch
from timm.optim import create_optimizer_v2
from torch.utils.data import DataLoader

from core.baselines.dense import check_dense
from core.baselines.plans import Plan
from core.baselines.run import peer_runner
from core.commands.joint import joint_start, makes_joint
from core.commands.requests import FinetuneRequest, read
from core.commands.scoring import Start, score_on, start_of
from core.commands.session import Session, dense_start, objective_of, open_session
from core.commands.shared import parse_budget, say
from core.commands.targets import keep_targets, read_targets, selectors_of
from core.costs.macs import count_macs
from core.errors import InputError
from core.evaluation.evaluate import attention_runner, paired_difference, random_runner
from core.families.families import family_of_timm
from core.latency.schedule import schedule_ms
from core.methods import SINGLE_PATH, SOFT_TOKENS, check_takes
from core.models.cards import BackboneFile, CompactCard, ModelCard, SelectorCard, SinglePathCard
from core.models.load import Loaded, file_of, read_model
from core.models.runners import dense_runner
from core.models.weights import holds_card, lay_beside, read_checkpoint
from core.photos.class_folders import match_folders, split_roots
from core.single_path.calibrate import calibrate as calibrate_budgets
from core.single_path.calibrate import use_budget
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from core.single_path.history import history_file
from core.single_path.model import SinglePathViT
from core.soft_tokens.decide import keep_count, random_share
from core.soft_tokens.method import token_runner
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import schedule_macs
from core.training.budgets import BudgetStep
from core.training.data import spread_over
from core.training.rates import by_size
from core.training.readable import Readable
from core.training.runs import check_run, read_metrics, writing
from core.training.search import weight_groups
from core.training.tokens import TokenSettings, TokenStep, calibrate, token_groups
from core.training.verdict import is_trained, verdict_sentences

CALIBRATION_PHOTOS = 512
"""Held-out photos on which batch norms are calibrated."""
DEFAULT_TARGETS = "0.617,0.369,0.137"
RANDOM_DRAWS = 5
"""Draws of random dropping that the verdict is taken against."""
REPORTED = (1.0, 0.75, 0.6, 0.45)
"""Budgets at which an any-budget run reports its accuracy, shares of the dense MACs."""


def run_finetune(flags: argparse.Namespace) -> tuple[dict, str]:
    """Train on, as the model asks for it: selectors for a dense one, one budget or any for a searched one, or both."""
    args = read(FinetuneRequest, flags)
    check_run(args.out, resume=args.resume)
    if args.drop_at_random and args.rank_by is not None:
        raise InputError("--drop-at-random teaches no ranking; omit --rank-by.")
    if args.no_packages and not args.drop_at_random:
        raise InputError("--no-packages goes with --drop-at-random: selectors are trained with their packages.")
    if args.backbone_lr is not None and not 0 <= args.backbone_lr < math.inf:
        raise InputError(f"--backbone-lr takes a rate of 0 or more; not {args.backbone_lr}.")
    if args.no_packages and args.backbone_lr == 0:
        raise InputError("--no-packages trains the backbone alone, and --backbone-lr 0 freezes it; omit one of them.")
    if args.any_budget:
        return run_scored(args)
    if args.budget is None and timm.is_model(args.model):
        check_takes(SOFT_TOKENS, family_of_timm(args.model).FAMILY)  # before its weights are asked for
    model, card = read_model(args.model, download=True)
    if makes_joint(args, model, card):
        return run_tokens(args, *joint_start(args, model, card))
    if isinstance(model, SinglePathViT):
        if args.drop_at_random:
            raise InputError(
                f"{args.model} is trained for budgets without --targets; --drop-at-random needs selectors."
            )
        _refuse_selector_flags(args, "A searched model without --targets")
        return (run_any_budget if args.budget is None else run_one_budget)(args, model, card)
    if args.budget is not None:
        check_takes(SINGLE_PATH, card.family)
        raise InputError(f"{args.model} has no gates, so it takes no --budget; give what `search` wrote.")
    return run_tokens(replace(args, targets=args.targets or DEFAULT_TARGETS), *dense_start(args.model, args.data))


def _refuse_selector_flags(args: FinetuneRequest, what: str) -> None:
    """Refuse what only selectors take, where there are none.

    Raises:
        InputError: If one is given.
    """
    flags = {"--rank-by": args.rank_by, "--backbone-lr": args.backbone_lr}
    given = [flag for flag, value in flags.items() if value is not None]
    if given:
        raise InputError(f"{what} trains no token selectors; omit {' and '.join(given)}.")


def run_tokens(args: FinetuneRequest, dense: Loaded, folders: list[str]) -> tuple[dict, str]:
    """Put selectors into a model and train both.

    Args:
        args: The request.
        dense: The model as it starts and as it teaches: dense, or what single-path pruning left of that.
        folders: Of the data, in the order of its classes.
    """
    args = replace(args, selectors=selectors_of(args, dense))
    aim = read_targets(args, dense, folders)
    blocks, targets = aim.blocks, aim.keep
    say(f"Selectors before blocks {', '.join(map(str, blocks))}, to keep {', '.join(f'{t:.3f}' for t in targets)}")
    heads = dense.card.geometry.heads
    model = SoftTokenViT(copy.deepcopy(dense.model).requires_grad_(True), blocks, heads=heads)
    other = None if args.teacher is None and args.distill is None else objective_of(args, dense.card, dense.model)
    settings = TokenSettings(
        targets, rank_by=args.rank_by or "attention", at_random=args.drop_at_random, packages=not args.no_packages
    )
    if args.no_packages:
        check_dense(args.model, dense)
    step = TokenStep(model, dense.model, settings, other)
    session = open_session(args, dense.card, folders, hold_out=True)
    if session.accelerator.is_main_process:
        with writing(session.run):
            keep_targets(aim, session.run.folder)
    keeps = kept_backbone(dense, session) if args.backbone_lr == 0 else None
    geometry = dense.card.geometry
    asked_macs = schedule_macs(geometry, blocks, targets, model.layers).total

    def after_random(step: TokenStep, epoch: int) -> dict:
        patches = step.model.eval().patches
        if args.no_packages:
            plan = Plan("random-dense", geometry, blocks, tuple(keep_count(share, patches[0]) for share in targets))
            found = session.validate(peer_runner(step.model.backbone, plan, args.seed))
            told = {"epochs": epoch, "val_top1": found.top1, "dense": args.model, "at_random": True}
            session.save(step.model.backbone, dense.card, told)
            return {"val_top1": found.top1, "val_macs": found.mean_macs / found.dense_macs, "val_kept": list(targets)}
        draws = (
            torch.Generator().manual_seed(args.seed + i) for i in range(RANDOM_DRAWS if epoch == args.epochs else 1)
        )
        found = [
            session.validate(token_runner(step.model, geometry, random_share(targets, patches, draw)), patches)
            for draw in draws
        ]
        top1 = sum(each.top1 for each in found) / len(found)
        card = replace(dense.card, selectors=SelectorCard(blocks, targets, False), backbone=keeps)
        session.save(step.model, card, {"epochs": epoch, "val_top1": top1, "dense": args.model, "at_random": True})
        return {"val_top1": top1, "val_macs": found[0].mean_macs / found[0].dense_macs, "val_kept": list(targets)}

    def after_epoch(step: TokenStep, epoch: int) -> dict:
        calibrate(step.model.eval(), session.held_out_loader(), targets)
        session.agree(step.model.selectors)
        found = session.validate(token_runner(step.model, geometry), step.model.patches)
        draws = range(RANDOM_DRAWS if epoch == args.epochs else 1)
        rivals = [session.validate(random_runner(step.model, geometry, args.seed + draw)) for draw in draws]
        gain, margin = paired_difference(found, *rivals)
        attentive = session.validate(attention_runner(step.model, geometry))
        kept = found.mean_kept
        assert kept is not None  # as there are selectors
        trained = is_trained(targets, kept, gain, margin)
        card = replace(dense.card, selectors=SelectorCard(blocks, targets, trained), backbone=keeps)
        told = {"asked": args.targets, "asked_keep": targets, "achieved_keep": kept}
        told |= {"achieved_macs": found.mean_macs, "schedule": aim.schedule and asdict(aim.schedule)}
        session.save(step.model, card, {"epochs": epoch, "val_top1": found.top1, "dense": args.model, **told})
        return {
            "val_top1": found.top1,
            "val_macs": found.mean_macs / found.dense_macs,
            "asked_keep": list(targets),
            "val_kept": list(kept),
            "asked_macs": asked_macs / found.dense_macs,
            **milliseconds(kept),
            "random_top1": sum(rival.top1 for rival in rivals) / len(rivals),
            "gain_over_random": gain,
            "gain_interval": margin,
            "attention_top1": attentive.top1,
            "trained": trained,
        }

    def milliseconds(kept: Sequence[float]) -> dict:
        """What a latency limit asked for, and what is kept is predicted to take; nothing for another target."""
        if aim.schedule is None or aim.table is None:
            return {}
        within = tuple(accumulate(kept, min))  # averages over photos, which may rise by a rounding
        return {"asked_ms": aim.schedule.asked_ms, "achieved_ms": schedule_ms(aim.table, geometry, (blocks, within))}

    rate = session.args.rate
    backbone_lr = rate / 100 if args.backbone_lr is None else args.backbone_lr
    groups = token_groups(
        model, lr=rate, backbone_lr=backbone_lr, weight_decay=args.weight_decay, wait=args.wait_epochs
    )
    after = after_random if args.drop_at_random else after_epoch
    told, text = session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=rate), after)
    if not session.accelerator.is_main_process:
        return told, text
    records = read_metrics(session.run)
    if not records:
        return told, text  # its lines were removed; the weights say what they reached
    last = records[-1]
    return told | {"last_epoch": last}, text if args.drop_at_random else f"{text}\n{verdict_sentences(last)}"


def kept_backbone(dense: Loaded, session: Session) -> BackboneFile | None:
    """The file whose weights a frozen backbone shares, laid beside the run's; None where none holds just these.

    Args:
        dense: What selectors are put into.
        session: Open; the main process of it writes.

    Raises:
        InputError: If the file cannot be laid there.
    """
    path = file_of(dense.spec.name)
    if path is None or not holds_card(path):
        return None
    held, own = read_checkpoint(path)[0], dense.model.state_dict()
    if held.keys() != own.keys() or any(not torch.equal(held[key], own[key].cpu()) for key in held):
        return None
    if not session.accelerator.is_main_process:
        return None  # writes nothing
    with writing(session.run):
        return lay_beside(path, session.run.weights)


def run_one_budget(args: FinetuneRequest, model: SinglePathViT, card: ModelCard) -> tuple[dict, str]:
    """Derive the architecture of one budget, train its weights on, and save the compact form."""
    geometry = card.geometry
    dense = count_macs(geometry).total
    assert args.budget is not None  # else any budget is trained for
    budget = parse_budget(args.budget, dense)
    chosen = derive(gates_of(model, geometry), budget)
    stored = sum(parameter.numel() for parameter in model.parameters())
    made = CompactCard(
        chosen.mixers, chosen.ffn_hidden, budget, stored, model.prefix_passes, in_windows=model.in_windows
    )
    step = BudgetStep(model, geometry, objective_of(args, card), only=chosen)
    session = _open_searched(args, card)

    def after_epoch(step: BudgetStep, epoch: int) -> dict:
        plain = compact(step.model, chosen)
        found = session.validate(dense_runner(plain, chosen.macs))
        told = {"epochs": epoch, "asked_macs": budget, "achieved_macs": chosen.macs, "val_top1": found.top1}
        session.save(plain, replace(card, single_path=None, compact=made), {**told, "searched": args.model}, half=False)
        return {"asked_gmacs": budget / 1e9, "achieved_gmacs": chosen.macs / 1e9, "val_top1": found.top1}

    return _fit_searched(args, session, step, after_epoch)


def run_scored(args: FinetuneRequest) -> tuple[dict, str]:
    """Score a dense model and train it for any budget, with itself as the teacher: all in one command."""
    if args.budget is not None or args.targets is not None or args.drop_at_random:
        raise InputError("--any-budget trains for all budgets, without selectors; omit --budget, --targets and such.")
    _refuse_selector_flags(args, "--any-budget")
    start = start_of(args.model, args.data)
    single = SinglePathCard(start.model.alpha, fit_to_predict=False, shifts=True, scored=True)
    return run_any_budget(args, start.model, replace(start.card, single_path=single), start)


def run_any_budget(
    args: FinetuneRequest, searched: SinglePathViT, card: ModelCard, start: Start | None = None
) -> tuple[dict, str]:
    """Train a searched model on, with a budget drawn at random at each step, and calibrate it for a grid of budgets.

    Args:
        args: The request.
        searched: The search form.
        card: Of it.
        start: What it comes from where nothing was trained yet: its dense model teaches unless --teacher does.
    """
    geometry, single = card.geometry, card.single_path
    assert single is not None  # of a search form
    dense = count_macs(geometry).total
    if args.teacher is None and args.distill is None and start is None:
        raise InputError(
            "Training for any budget learns from the dense model: name it as --teacher, or give --distill none; "
            "--budget trains one budget alone."
        )
    first = math.ceil(100 * parse_budget(args.least, dense) / dense)
    if first > 100:
        raise InputError(f"--least is a budget up to that of the dense model; {args.least} is more.")
    shares = tuple(percent / 100 for percent in range(first, 101))
    derive(gates_of(searched, geometry), shares[0] * dense)  # refuses what cannot be reached
    semantics = {
        "prefix_passes": searched.prefix_passes,
        "in_windows": searched.in_windows,
        "shifts": searched.shifts,
    }
    model = SinglePathViT(searched.backbone, searched.alpha, shares, **semantics)
    for path, before in zip(model.paths, searched.paths, strict=True):
        path.load_state_dict(before.state_dict())
    objective = objective_of(args, card, None if start is None else start.dense)

    def prepare(photos: Readable, device: torch.device) -> None:
        score_on(model.to(device), card, photos, name=args.model, seed=args.seed)

    session = _open_searched(args, card, None if start is None or start.scored else prepare)
    step = BudgetStep(model, geometry, objective, least=shares[0])
    path = None if start is not None else file_of(args.model)
    history = None if path is None else history_file(path)
    if history is not None and history.is_file() and session.accelerator.is_main_process:
        with writing(session.run):
            shutil.copyfile(history, history_file(session.run.weights))

    comes = {} if start is None else {"dense": start.name}

    def after_epoch(step: BudgetStep, epoch: int) -> dict:
        last = epoch == args.epochs
        if last:
            held = session.held_out_loader().dataset
            assert isinstance(held, Readable)
            photos = (
                images.to(session.accelerator.device)
                for images, _ in DataLoader(spread_over(held, CALIBRATION_PHOTOS), session.held_out_loader().batch_size)
            )
            calibrate_budgets(step.model, geometry, photos)
        found = {}
        for share in set(shares) & set(REPORTED) if last else ():
            use_budget(step.model, shares.index(share))
            chosen = derive(step.gates, share * dense)
            runner = dense_runner(compact(step.model, chosen), chosen.macs)
            found[f"val_top1_at_{share:.0%}"] = session.validate(runner).top1
        done = replace(single, fit_to_predict=last, budgets=shares)
        session.save(
            step.model, replace(card, single_path=done), {"epochs": epoch, "teacher": args.teacher, **comes, **found}
        )
        return found

    return _fit_searched(args, session, step, after_epoch)


def _open_searched(
    args: FinetuneRequest, card: ModelCard, prepare: Callable[[Readable, torch.device], None] | None = None
) -> Session:
    """The run of a searched model, on the data of its classes; `prepare`: see `open_session`."""
    folders, _ = match_folders(split_roots(args.data, "train"), card.classes, least=2)
    return open_session(args, card, folders, hold_out=True, prepare=prepare)


def _fit_searched(
    args: FinetuneRequest, session: Session, step: BudgetStep, after_epoch: Callable[[BudgetStep, int], dict]
) -> tuple[dict, str]:
    """Train all weights but the gates."""
    groups = by_size(step.model, weight_groups(step.model, args.weight_decay))
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=session.args.rate), after_epoch)
