"""`evaluate --method tome` and its like: other people's methods on the dense weights, at the cost of a pruned model."""

from dataclasses import replace
from typing import cast

from accelerate import Accelerator

from core.baselines.dense import check_dense, dense_of
from core.baselines.plans import PEER_WORDS, Plan, default_blocks, fit_plan
from core.baselines.run import peer_runner
from core.commands.loading import load_model_of
from core.commands.over_folder import over_folder
from core.commands.requests import PhotosRequest
from core.commands.shared import parse_budget, say
from core.commands.sweeping import evaluate_with
from core.config import Peer
from core.errors import InputError
from core.evaluation.evaluate import paired_difference
from core.evaluation.sweep import unnamed
from core.models.class_lists import read_classes, with_classes
from core.models.load import Loaded
from core.results import Evaluation
from core.results.text import points
from core.soft_tokens.method import token_runner
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import schedule_macs


def evaluate_peer(args: PhotosRequest, accelerator: Accelerator) -> tuple[Evaluation, dict, str]:
    """Accuracy of a peer on a folder of photos: untouched dense weights, nothing trained.

    Beside a model with selectors it costs what that costs on these photos on average, which runs over them first; with
    `--budget`, what that says.

    Args:
        args: What `evaluate` is asked for.
        accelerator: Of this process.

    Returns:
        The finding, what to add to the JSON, and the sentences for a person.

    Raises:
        InputError: If the peer cannot take the model, or cannot reach the cost.
    """
    dense, plan, own = _prepare(args, accelerator)
    found = over_folder(args, accelerator, dense, peer_runner(dense.model, plan, args.seed))
    told, text = _told(dense, plan)
    if own is not None:
        gain, margin = paired_difference(own, found)
        told["own"] = {"top1": own.top1, "mean_macs": own.mean_macs, "gain": gain, "interval": margin}
        text += (
            f"\n{args.model} itself: top-1 {100 * own.top1:.2f} %, {own.mean_macs / 1e9:.4g} GMACs; "
            f"{points(gain, margin)} on the same photos (95 %), with weights trained further."
        )
    return found, told, text


def peer_into_file(args: PhotosRequest, accelerator: Accelerator) -> tuple[dict, str]:
    """The same with a line per photo in a file, which an interrupted run goes on with; no paired difference.

    Raises:
        InputError: As above, or if the file cannot be resumed.
    """
    dense, plan, own = _prepare(args, accelerator)
    told, text = _told(dense, plan)
    if own is not None:
        told["own"] = {"top1": own.top1, "mean_macs": own.mean_macs}
        text += f"\n{args.model} itself: top-1 {100 * own.top1:.2f} %, {own.mean_macs / 1e9:.4g} GMACs."
    result, head = evaluate_with(args, accelerator, dense, unnamed(peer_runner(dense.model, plan, args.seed)))
    return result | told, f"{plan.peer} in place of {head}\n{text}"


def _told(dense: Loaded, plan: Plan) -> tuple[dict, str]:
    """What ran, for the JSON and in words."""
    told = {
        "method": plan.peer,
        "dense": dense.spec.name,
        "blocks": list(plan.blocks),
        "amounts": list(plan.amounts),
    }
    return told, f"{_named(plan)} with the weights of {dense.spec.name}, nothing trained for it: {_amounts(plan)}."


def _prepare(args: PhotosRequest, accelerator: Accelerator) -> tuple[Loaded, Plan, Evaluation | None]:
    """The dense model, the plan, and where its cost is that of a model with selectors, what that one reaches."""
    pruned = load_model_of(replace(args, budget=None, classes=None))
    classes = None if args.classes is None else read_classes(args.classes)
    geometry, plan, own = pruned.card.geometry, None, None
    macs = None if args.budget is None else parse_budget(args.budget, pruned.dense_macs)
    if isinstance(pruned.model, SoftTokenViT):
        dense, blocks = dense_of(args.model, pruned.card, args.dense), pruned.model.blocks
        if macs is None and pruned.spec.keep is not None and pruned.card.compact is None:
            macs = schedule_macs(geometry, blocks, pruned.spec.keep).total
    elif not pruned.kind.pruned:
        if args.dense is not None:
            raise InputError(f"{args.model} is dense itself; omit --dense.")
        if macs is None:
            raise InputError(f"{args.model} has no token selectors, so --method {args.method} needs --budget.")
        check_dense(args.model, pruned)
        dense, blocks = pruned, default_blocks(geometry.depth)
    else:
        raise InputError(f"{args.model} has no token selectors, so --method {args.method} has nothing to be like.")
    if macs is not None:
        plan = fit_plan(cast(Peer, args.method), geometry, blocks, macs)
    if args.budget is None and isinstance(pruned.model, SoftTokenViT):
        runner = token_runner(pruned.model.to(accelerator.device), geometry)
        pruned = pruned if classes is None else with_classes(pruned, classes)
        say(f"First {args.model} itself.")
        own = over_folder(args, accelerator, pruned, runner)
        plan = plan or fit_plan(cast(Peer, args.method), geometry, blocks, own.mean_macs)
    assert plan is not None  # without a budget there are selectors
    dense.model.to(accelerator.device)
    return dense if classes is None else with_classes(dense, classes), plan, own


def _named(plan: Plan) -> str:
    words = PEER_WORDS[plan.peer]
    return words[0].upper() + words[1:]


def _amounts(plan: Plan) -> str:
    """What the plan does, in words; blocks count from 0, as everywhere on the command line."""
    amounts = ", ".join(map(str, plan.amounts))
    if plan.peer == "tome":
        return f"{amounts} tokens merged away in blocks 0 to {plan.blocks[-1]}"
    return f"{amounts} tokens kept in blocks {', '.join(map(str, plan.blocks))}"
