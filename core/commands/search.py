"""`search`: gates put into a dense model, and learned under a budget."""

import argparse
import copy
import math
from dataclasses import replace

from timm.optim import create_optimizer_v2

from core.backbones.families import FAMILIES, family
from core.cards import SinglePathCard
from core.commands.session import add_loop, dense_start, objective_of, open_session
from core.commands.shared import add_common, parse_budget
from core.errors import InputError
from core.evaluate import dense_runner
from core.single_path.derive import budget_range, derive, gates_of, settled
from core.single_path.history import SNAPSHOTS_PER_EPOCH, add_snapshot, history_file
from core.single_path.model import SinglePathViT
from core.single_path.search import cost_weight, gate_rate
from core.training.loop import StepRecord
from core.training.runs import check_run, writing
from core.training.search import SearchStep, search_groups


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    search = commands.add_parser("search", help="put gates into a dense model and learn which to close")
    add_common(search)
    add_loop(search, usual={"epochs": 10, "lr_per_512": 5e-5, "mixup": 0.2, "cutmix": 1.0})
    search.add_argument("--model", required=True, help="the dense model: a name or a weights file")
    search.add_argument("--budget", default="60%", help="GMACs, or a share of dense such as 60%% (default %(default)s)")
    search.add_argument(
        "--gate-lr", type=float, help="constant, without decay (default: as published, 1e-3; 5e-4 for DeiT-S and Swin)"
    )
    search.add_argument(
        "--cost-weight",
        type=float,
        help="lambda (default: as published for this DeiT or Swin; for other shapes that of the smallest, scaled)",
    )
    searched = (one for one in FAMILIES.values() if "singlepath" in one.METHODS)
    by_family = ", ".join(f"{one.SEARCH.alpha:g} for {one.FAMILY}" for one in searched)
    search.add_argument("--alpha", type=float, help=f"temperature of the head mixing (default: {by_family})")
    search.set_defaults(run=run_search)


def run_search(args: argparse.Namespace) -> tuple[dict, str]:
    """Put gates into a dense model and learn which to close; it teaches its own pruned form unless told otherwise."""
    check_run(args.out, resume=args.resume)
    dense, folders = dense_start(args.model, args.data, method="singlepath")
    geometry = dense.card.geometry
    budget = parse_budget(args.budget, dense.dense_macs)
    args.alpha = family(dense.card.family).SEARCH.alpha if args.alpha is None else args.alpha
    args.gate_lr = gate_rate(geometry) if args.gate_lr is None else args.gate_lr
    if not (0 < args.alpha < math.inf and 0 < args.gate_lr < math.inf):
        raise InputError("--alpha and --gate-lr take numbers above 0.")
    if args.cost_weight is not None and not 0 <= args.cost_weight < math.inf:
        raise InputError("--cost-weight takes a number of 0 or more.")
    weight = cost_weight(geometry) if args.cost_weight is None else args.cost_weight
    model = SinglePathViT(copy.deepcopy(dense.model).requires_grad_(True), args.alpha)
    derive(gates_of(model, geometry), budget)  # refuses what cannot be reached
    step = SearchStep(
        model, geometry, budget=budget, weight=weight, objective=objective_of(args, dense.card, dense.model)
    )
    session = open_session(args, dense.card, folders, hold_out=False)
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
        card = replace(dense.card, single_path=SinglePathCard(args.alpha, fit_to_predict=False))
        told = {"epochs": epoch, "asked_macs": budget, "achieved_macs": own.macs, "derived_macs": derived.macs}
        session.save(step.model, card, {**told, "val_top1": found.top1, "dense": args.model})
        return {
            "asked_gmacs": budget / 1e9,
            "achieved_gmacs": own.macs / 1e9,
            "derived_gmacs": derived.macs / 1e9,
            "val_top1": found.top1,
            "mixers": list(own.mixers),
            "ffn_hidden": list(own.ffn_hidden),
        }

    groups = search_groups(model, lr=args.lr, gate_lr=args.gate_lr, weight_decay=args.weight_decay)
    return session.fit(step, create_optimizer_v2(groups, opt="adamw", lr=args.lr), after_epoch, remember)
