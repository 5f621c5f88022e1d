"""`untrained`: what pruning without training keeps of a dense model's accuracy, each way over a range of costs."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import torch
from torch.utils.data import DataLoader

from core.commands.endings import printed_anyway
from core.commands.loading import NAME_THEM, tell_skipped
from core.commands.requests import UntrainedRequest, read
from core.commands.score import photos_to_score
from core.commands.session import dense_model
from core.commands.shared import Progress, pick_device, say, say_here
from core.errors import InputError
from core.evaluation.evaluate import evaluate
from core.evaluation.sweep import weights_fingerprint
from core.evaluation.untrained import Point, Record, point_of, read_record, ways_of
from core.files import check_target, write_text
from core.files.json_text import json_text
from core.models.load import Loaded
from core.models.runners import Runner, dense_runner
from core.photos.batches import labelled_batch
from core.photos.class_folders import match_folders, photos, split_roots
from core.photos.image import eval_transform, load_photo
from core.results import Evaluation
from core.training.data import limited
from core.training.data_print import data_print
from core.training.readable import Labelled, Readable


def run_untrained(flags: argparse.Namespace) -> tuple[dict, str]:
    """Evaluate every way at every cost; each row is in the file as soon as it is there.

    JSON: the fields of `Record`.
    """
    args = read(UntrainedRequest, flags)
    if args.batch < 1 or args.workers < 0 or (args.limit_per_class is not None and args.limit_per_class < 1):
        raise InputError("--batch and --limit-per-class take 1 or more, --workers 0 or more.")
    check_target(args.out, "--out")
    before = read_record(args.out)
    paths = photos_to_score(args)
    device, dense = pick_device(args.device), dense_model(args.model)
    dense.model.to(device)
    chosen, listing = _photos(args, dense)
    record = Record(
        model=args.model,
        weights=weights_fingerprint(dense.model, dense.card),
        listing=listing,
        scored_on=None if paths is None else data_print([], [(str(path), 0) for path in paths])["listing"],
        seed=args.seed,
        images=0,
        dense_top1=0.0,
        dense_macs=dense.dense_macs,
        rows=before.rows if before else (),
    )
    if before is not None and not before.same_run(record):
        raise InputError(f"{args.out} is of another model, other photos or another seed; give --out a new file.")
    run_over = partial(_evaluated, args, dense, chosen, device)
    line = Progress()
    line.show(f"{args.model}, dense, on {len(chosen)} photos …")
    reference = run_over(dense_runner(dense.model, dense.dense_macs))
    line.clear()
    record = replace(record, images=reference.images, dense_top1=reference.top1)
    ways = ways_of(
        dense,
        None if paths is None else [load_photo(path) for path in paths],
        device=device,
        seed=args.seed,
        on_share=lambda share, doing: line.show(f"scoring: {share:.0%}, {doing}"),
    )
    line.clear()
    done = {(row.way, row.setting) for row in record.rows}
    for name, (costs, way) in ways.items():
        for cost in costs:
            try:
                cut = way(cost)
            except InputError as error:
                say(f"{name}: {error}")
                continue
            if (name, cut.setting) in done:
                continue
            line.show(f"{name}, {cut.share:.0%} of the multiply-adds …")
            row = point_of(name, cut, run_over(cut.run), reference)
            line.clear()
            done.add((name, cut.setting))
            record = replace(record, rows=(*record.rows, row))
            with printed_anyway(asdict(record), _line(row)):
                write_text(args.out, json_text(asdict(record), indent=1) + "\n")
            say(_line(row))
    head = f"{args.model}: {record.dense_top1:.1%} of {record.images} photos, dense"
    return asdict(record), "\n".join([head, *map(_line, record.rows), f"All rows are in {args.out}."])


def _photos(args: UntrainedRequest, dense: Loaded) -> tuple[Readable, str]:
    """The labelled photos to judge on, and a fingerprint of their list."""
    roots, card = split_roots(args.data, "val"), dense.card
    folders, left_out = match_folders(roots, card.classes, hint=NAME_THEM)
    found = photos(roots, folders, eval_transform(card.geometry.img_size, card.normalisation))
    tell_skipped(found.skipped)
    if left_out:
        say(f"{left_out} photos of classes that the model does not know are left out.")
    samples: Sequence[tuple[str, int]] = found.samples
    chosen: Labelled = found
    if args.limit_per_class is not None:
        chosen = limited(found, args.limit_per_class)
        samples = [found.samples[index] for index in chosen.indices]
    return Readable(chosen, say_here, graded=True), data_print([], samples)["listing"]


def _evaluated(
    args: UntrainedRequest, dense: Loaded, chosen: Readable, device: torch.device, run: Runner
) -> Evaluation:
    """One way of answering over all photos."""
    loader = DataLoader(chosen, args.batch, num_workers=args.workers, collate_fn=labelled_batch)
    batches = ((images.to(device), labels.to(device)) for images, labels in loader)
    with torch.inference_mode():
        return evaluate(run, batches, dense_macs=dense.dense_macs, patches=dense.card.geometry.patches)


def _line(row: Point) -> str:
    """One row as text."""
    margin = "" if row.margin is None else f" ± {100 * row.margin:.1f}"
    return (
        f"{row.way:45} {row.macs_share:6.1%} of the MACs  {row.top1:6.1%}  {100 * row.difference:+.1f}{margin} points"
        f"  {row.setting}"
    )
