"""`search`: gates put into a dense model, and learned under a budget."""

import argparse
import math
from dataclasses import replace

import torch
from timm.optim import create_optimizer_v2

from core.commands.requests import SearchRequest, read
from core.commands.scoring import score_on, start_of
from core.commands.session import objective_of, open_session
from core.commands.shared import parse_budget
from core.costs.macs import count_macs
from core.errors import InputError
from core.models.cards import SinglePathCard
from core.models.runners import dense_runner
from core.single_path.derive import budget_range, derive, gates_of, settled
from core.single_path.history import SNAPSHOTS_PER_EPOCH, add_snapshot, history_file
from core.single_path.score import set_gates
from core.single_path.search import cost_weight, gate_rate
from core.single_path.start import start_gates
from core.training.loop import StepRecord
from core.training.readable import Readable
from core.training.runs import check_run, read_settings, writing
from core.training.search import SearchStep, search_groups

_RATES = "--alpha and --gate-lr take numbers above 0."


def _from_scores(args: SearchRequest) -> bool | None:
    """Whether to start from scores: as asked, else as the run to resume did, else yes.

    A flat start is None, as runs from before there was a choice have written nothing down, and all started flat.
    """
    before = read_settings(args.out) if args.resume else None
    asked = args.from_scores
    if asked is None:
        asked = True if before is None else before.get("from_scores")
    return asked or None


def run_search(flags: argparse.Namespace) -> tuple[dict, str]:
    """Put gates into a dense model and learn which to close; it teaches its own pruned form unless told otherwise."""
    args = read(SearchRequest, flags)
    check_run(args.out, resume=args.resume)
    args = replace(args, from_scores=_from_scores(args))
    if args.alpha is not None and not 0 < args.alpha < math.inf:
        raise InputError(_RATES)
    start = start_of(args.model, args.data, args.alpha, scores=bool(args.from_scores))
    card, geometry, model = start.card, start.card.geometry, start.model
    budget = parse_budget(args.budget, count_macs(geometry).total)
    gate_lr = gate_rate(geometry) if args.gate_lr is None else args.gate_lr
    args = replace(args, alpha=start.model.alpha, gate_lr=gate_lr)
    if not 0 < gate_lr < math.inf:
        raise InputError(_RATES)
    if args.cost_weight is not None and not 0 <= args.cost_weight < math.inf:
        raise InputError("--cost-weight takes a number of 0 or more.")
    weight = cost_weight(geometry) if args.cost_weight is None else args.cost_weight
    derive(gates_of(model, geometry), budget)  # refuses what cannot be reached
    step = SearchStep(model, geometry, budget=budget, weight=weight, objective=objective_of(args, card, start.dense))

    def prepare(photos: Readable, device: torch.device) -> None:
        if not start.scored:
            try:
                score_on(model.to(device), card, photos, name=args.model, seed=args.seed)
            except InputError as error:
                raise InputError(f"{error} --from-flat starts a search without scores.") from error
        set_gates(model, start_gates(gates_of(model, geometry), budget))

    session = open_session(args, card, start.folders, hold_out=False, prepare=prepare if args.from_scores else None)
    history = history_file(session.run.weights)
    if session.accelerator.is_main_process and not history.exists():
        with writing(session.run):
            add_snapshot(history, 0.0, gates_of(model, geometry))

    def remember(record: StepRecord) -> None:
        every = max(1, record.steps // SNAPSHOTS_PER_EPOCH)
        if record.step % every == 0 or record.step == record.steps:
            add_snapshot(history, record.epoch + record.step / record.steps, gates_of(model, geometry))

    def after_epoch(step: SearchStep, epoch: int) -> dict:
        gates = gates_of(step.model, geometry)
        own, derived = settled(gates), derive(gates, max(budget, budget_range(gates)[0]))
        found = session.validate(dense_runner(step.model, own.macs))
        single = SinglePathCard(model.alpha, fit_to_predict=False, shifts=model.shifts)
        told = {"epochs": epoch, "asked_macs": budget, "achieved_macs": own.macs, "derived_macs": derived.macs}
        session.save(
            step.model, replace(card, single_path=single), {**told, "val_top1": found.top1, "dense": start.name}
        )
        return {
            "asked_gmacs": budget / 1e9,
            "achieved_gmacs": own.macs / 1e9,
            "derived_gmacs": derived.macs / 1e9,
            "val_top1": found.top1,
            "mixers": list(own.mixers),
            "ffn_hidden": list(own.ffn_hidden),
        }

    groups = search_groups(model, lr=session.args.rate, gate_lr=gate_lr, weight_decay=args.weight_decay)
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=session.args.rate), after_epoch, remember)
