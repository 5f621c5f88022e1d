"""What token pruning is to reach, as the command line says it: keep ratios, MACs, or milliseconds; and `schedule`."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from core.commands.requests import FinetuneRequest, TargetsRequest, read
from core.commands.session import dense_model, dense_start
from core.commands.shared import Progress, numbers, parse_budget, pick_device, say
from core.costs.geometry import Geometry
from core.errors import InputError
from core.evaluation.evaluate import evaluate
from core.families.families import layout_of
from core.files import write_text
from core.files.json_text import json_text
from core.latency.measure_table import measure_table
from core.latency.random_models import random_pair
from core.latency.schedule import Stages, choose_schedule
from core.latency.table import check_one_grid, read_table, write_table
from core.methods import SOFT_TOKENS, check_takes
from core.models.load import Loaded
from core.models.runners import dense_runner
from core.photos.class_folders import photos, split_roots
from core.photos.image import eval_transform
from core.results.timings import LatencyTable, Schedule
from core.soft_tokens.decide import AttentionShare, check_keep
from core.soft_tokens.method import token_runner
from core.soft_tokens.mixers import spread
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.places import usual_places
from core.soft_tokens.schedules import FITTED, RELEASED, fit_keep, geometry_of, schedule_macs
from core.training.data import held_out, spread_over

USUAL_SELECTORS = "3,6,9"
BATCH = 128
SCHEDULE, TABLE = "schedule.json", "table.csv"
"""Files of a run's folder."""
BATCHES = 4
"""Of held-out photos on which a schedule's accuracy is judged."""


@dataclass(frozen=True)
class Targets:
    """Where selectors are to stand, and what share of the patches is to be alive after each."""

    blocks: tuple[int, ...]
    keep: tuple[float, ...]
    schedule: Schedule | None = None
    """How it was chosen, for a latency limit."""
    table: LatencyTable | None = None
    """By what it was chosen."""


def run_schedule(flags: argparse.Namespace) -> tuple[dict, str]:
    """What a latency limit (or another target) asks for, without training.

    JSON: {"model", "blocks", "keep", "macs", "asked_ms", "predicted_ms", "dense_ms", "accuracy", "dense_accuracy"};
    without a model {"schedules": [{"name", "model", "blocks", "keep", "macs", "published_gmacs"}]}.
    """
    args = read(TargetsRequest, flags)
    if args.model is None:
        return _list_known()
    assert args.targets is not None  # it has a default here
    timed = args.targets.strip().endswith("ms")
    if not timed:
        dense, folders = dense_model(args.model, weights=False), []
    elif args.data is None:
        raise InputError("A limit in ms is worked out on photos: give --data DIR with a train folder in it.")
    else:
        dense, folders = dense_start(args.model, args.data)
    check_takes(SOFT_TOKENS, dense.card.family)
    found = read_targets(args, dense, folders)
    macs = schedule_macs(dense.card.geometry, found.blocks, found.keep).total
    told = {"model": args.model, "blocks": list(found.blocks), "keep": list(found.keep), "macs": macs}
    places, shares = ", ".join(map(str, found.blocks)), ", ".join(f"{share:.3f}" for share in found.keep)
    most = "at most " if dense.card.geometry.windows() else ""
    cost = f"{most}{macs / 1e9:.4g} GMACs of {dense.dense_macs / 1e9:.4g}"
    text = f"Selectors before blocks {places}, keeping {shares}: {cost}"
    if found.schedule is not None:
        one = found.schedule
        told |= {key: value for key, value in asdict(one).items() if key not in ("blocks", "keep")}
        text += (
            f"; predicted by the table: {one.predicted_ms:.4g} ms of {one.dense_ms:.4g} dense; top-1 on held-out "
            f"photos before training {one.accuracy:.1%}, dense {one.dense_accuracy:.1%}"
        )
    return told, text + "."


def _list_known() -> tuple[dict, str]:
    """All known schedules, counted here."""
    rows, lines = [], []
    for known in (*FITTED.values(), *RELEASED):
        macs = schedule_macs(geometry_of(known), known.blocks, known.keep).total
        row = {**asdict(known), "macs": macs}
        rows.append({key: row[key] for key in ("name", "model", "blocks", "keep", "macs", "published_gmacs")})
        about = "what the release trains for"
        if known.name in FITTED:
            about = "fitted by us, and the most that a photo costs"
            if known.published_gmacs is not None:
                about = f"fitted by us to the published {known.published_gmacs:g} GMACs"
        shares, places = ", ".join(f"{share:g}" for share in known.keep), ", ".join(map(str, known.blocks))
        several = "s" if len(known.blocks) > 1 else ""
        where = f"selector{several} before block{several} {places}"
        lines.append(f"{known.name:21} {macs / 1e9:.2f} GMACs  {where:32} keeping {shares:20} {about}")
    return {"schedules": rows}, "\n".join(lines)


def selectors_of(args: TargetsRequest, dense: Loaded) -> str:
    """The blocks before which selectors stand, as typed; the usual ones where nothing was given.

    Args:
        args: With `targets`.
        dense: The model that gets the selectors; in a compact one they are spread behind its last 3x3 convolution.
    """
    compact, text = dense.card.compact, (args.targets or "").strip()
    macs = text.endswith(("G", "%"))
    count = len(USUAL_SELECTORS.split(",")) if macs else len(text.split(","))
    if args.selectors is None and layout_of(dense.model) == "windows":
        return ",".join(map(str, usual_places(dense.model, count)))
    if args.selectors is not None or compact is None:
        return args.selectors or USUAL_SELECTORS
    return ",".join(map(str, spread(compact.mixers, count)))


def read_targets(args: TargetsRequest, dense: Loaded, folders: list[str]) -> Targets:
    """The targets that the flags ask for; a latency limit is worked out on photos held out of the training split.

    Args:
        args: With `targets`.
        dense: The model that gets the selectors; it may be a compact one.
        folders: Of the data, for a latency limit.

    Raises:
        InputError: If they cannot be read or reached.
    """
    assert args.targets is not None  # filled in by the command
    text, geometry = args.targets.strip(), dense.card.geometry
    compact, timed = dense.card.compact, text.endswith("ms")
    if timed:
        check_one_grid(geometry)
    if compact is not None and timed:
        raise InputError(
            "Latency tables know dense blocks alone, so a single-path model takes no --targets in ms; give shares of "
            "the patches, or MACs."
        )
    blocks = numbers(selectors_of(args, dense), int, "--selectors")
    if timed:
        limits = numbers(text.removesuffix("ms"), float, "--targets")
        if len(limits) != 1:
            raise InputError(f"--targets takes one limit in ms, such as 12ms, for the whole model; not {text!r}.")
        return _for_latency(args, limits[0], dense, folders)
    model = SoftTokenViT(dense.model, blocks, heads=geometry.heads)  # refuses places that are none
    if text.endswith(("G", "%")):
        asked = parse_budget(text.removesuffix("G"), dense.dense_macs, "--targets")
        return Targets(blocks, fit_keep(geometry, blocks, asked, model.layers))
    return Targets(blocks, check_keep(numbers(text, float, "--targets"), len(blocks), "--targets", model.patches))


def keep_targets(found: Targets, folder: Path) -> None:
    """Write what a latency limit chose into a run's folder, with the table that it was chosen by.

    Measured again, another schedule might be chosen, and what was trained would not fit it.
    """
    if found.schedule is not None and found.table is not None:
        write_table(found.table, folder / TABLE)
        write_text(folder / SCHEDULE, json_text(asdict(found.schedule), indent=1))


def _kept_targets(folder: Path) -> Targets | None:
    """What `keep_targets` wrote; None where nothing was chosen yet.

    Raises:
        InputError: If it is damaged.
    """
    path = folder / SCHEDULE
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        schedule = Schedule(**told | {"blocks": tuple(told["blocks"]), "keep": tuple(told["keep"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged; remove it, and a schedule is chosen anew.") from error
    return Targets(schedule.blocks, schedule.keep, schedule, read_table(folder / TABLE))


def _for_latency(args: TargetsRequest, limit_ms: float, dense: Loaded, folders: list[str]) -> Targets:
    kept = _kept_targets(args.out) if isinstance(args, FinetuneRequest) and args.resume else None
    if kept is not None:
        return kept
    assert args.data is not None  # asked for by whoever takes a limit
    geometry, norm = dense.card.geometry, dense.card.normalisation
    device = pick_device(args.device)
    roots = split_roots(args.data, "train")
    held = held_out(photos(roots, folders, eval_transform(geometry.img_size, norm)), rest=False)
    batches = [(i.to(device), t.to(device)) for i, t in DataLoader(spread_over(held, BATCH * BATCHES), BATCH)]
    model = dense.model.to(device)
    line = Progress()

    def accuracy(stages: Stages) -> float:
        if not stages[0]:
            runner = dense_runner(model, dense.dense_macs)
        else:
            torch.manual_seed(args.seed)  # of the selectors, which only weigh the packages here
            pruned = SoftTokenViT(model, stages[0]).eval().to(device)
            runner = token_runner(pruned, geometry, AttentionShare(stages[1], geometry.patches))
        return evaluate(runner, batches, dense_macs=dense.dense_macs, patches=geometry.patches).top1

    table = _table(args, geometry, device)
    say(f"Choosing a schedule for {limit_ms:g} ms on {sum(len(t) for _, t in batches)} held-out photos …")
    found = choose_schedule(
        table, geometry, limit_ms, accuracy, lambda block, ms: line.show(f"block {block}: {ms:.2f} ms")
    )
    line.clear()
    return Targets(found.blocks, found.keep, found, table)


def _table(args: TargetsRequest, geometry: Geometry, device: torch.device) -> LatencyTable:
    if args.table is not None:
        return read_table(args.table)
    say("Measuring block latency on this machine …")
    return measure_table(random_pair(geometry, (1,), device), geometry)
