"""`evaluate`, and `predict` on folders: the file of results, several processes, what is said of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from core.commands.endings import printed_anyway
from core.commands.engine import batches_in_engine
from core.commands.loading import NAME_THEM, load_model_of, setting_of, tell_skipped
from core.commands.requests import PhotosRequest
from core.commands.shared import Progress, data_told, first_process, pick_device, say
from core.errors import InputError
from core.evaluation.evaluate import attention_runner, repeatable_random_runner
from core.evaluation.recorded import add_row
from core.evaluation.result_file import ResultFile, check_out
from core.evaluation.sweep import NamedRunner, Pace, Tally, Task, from_first, sweep, unnamed, weights_fingerprint
from core.files import is_stream
from core.latency.measure import device_name
from core.models.description import told_grids
from core.models.load import Loaded
from core.models.runners import runner_of
from core.photos.class_folders import match_folders, named, photos, split_roots
from core.photos.image import eval_transform, load_photo
from core.photos.listing import PhotoList, labelled, list_photos
from core.photos.loader import Photos
from core.results import Recorded
from core.results.timings import EAGER
from core.soft_tokens.model import SoftTokenViT
from core.training.loop import make_accelerator

MOST_IN_ONE = 10_000
"""Photos of which one JSON object tells; more are for a file."""


def check_sweep(args: PhotosRequest) -> None:
    """Refuse what cannot be meant.

    Raises:
        InputError: If a number is too small, there is nothing to resume, or --out cannot be written.
    """
    if args.batch < 1 or args.workers < 0:
        raise InputError("--batch takes 1 or more, --workers 0 or more.")
    if args.resume and args.out is None:
        raise InputError("--resume goes on with a file of results; name it with --out.")
    if args.out is not None:
        check_out(args.out, resume=args.resume)


def predict_many(args: PhotosRequest) -> tuple[dict, str]:
    """Top-5 of the photos of folders, in batches; those that cannot be read are counted."""
    listing, skipped = list_photos(args.photos)
    tell_skipped(skipped)
    if len(args.photos) == 1 and args.photos[0].is_file():
        load_photo(args.photos[0])  # the only photo: if it cannot be read, that is said and nothing else
    accelerator = make_accelerator(pick_device(args.device))
    loaded = load_model_of(args)
    if args.json and args.out is None and len(listing) > MOST_IN_ONE:
        raise InputError(
            f"--json is one object of all {len(listing):,} photos, more than {MOST_IN_ONE:,}; give --out FILE, which "
            "gets a line of JSON for each as the run goes."
        )
    rows: list[dict] = []
    keep = None if args.out is not None or not first_process() else rows.extend if args.json else _print
    engine = batches_in_engine(args, loaded)
    run = None if engine is None else unnamed(engine)
    tally, pace = _sweep(args, loaded, listing, args.photos, accelerator, run, graded=False, on_rows=keep)
    latency = {
        "device": device_name(accelerator.device),
        "threads": torch.get_num_threads(),
        "batch": pace.batch,
        "engine": args.engine,
    }
    first, median, third = np.percentile(pace.passes_ms or [0.0], (25, 50, 75))
    fixed = {
        "dense_macs": loaded.dense_macs,
        "patches": loaded.card.geometry.patches,
        **told_grids(loaded),
        "latency_ms": {"median": float(median), "iqr": float(third - first), **latency},
    }
    order = ("file", "top5", "macs", "dense_macs", "patches", "kept", *told_grids(loaded), "latency_ms")
    images = [{key: (row | fixed)[key] for key in order} for row in rows if "error" not in row]
    result = {"model": args.model, "images": images, "unreadable": [row for row in rows if "error" in row]}
    result["skipped"] = skipped.files
    if args.out is not None:
        result["unreadable"] = tally.unreadable
    return _with_pace(result, args, tally, pace), f"{tally.images} photos{_unreadable(tally)}{_pace(pace)}"


def evaluate_folder(args: PhotosRequest) -> tuple[dict, str]:
    """Accuracy on a folder of photos."""
    check_sweep(args)
    return evaluate_with(args, make_accelerator(pick_device(args.device)), load_model_of(args))


def evaluate_with(
    args: PhotosRequest, accelerator: Accelerator, loaded: Loaded, run: NamedRunner | None = None
) -> tuple[dict, str]:
    """The same of a model that is there; `run`: in place of the model as it is."""
    roots = split_roots(args.data, "val")
    folders, left_out = match_folders(roots, loaded.card.classes, hint=NAME_THEM)
    found = photos(roots, folders, None)
    listing, classes, skipped = labelled(found), len(found.classes), found.skipped
    del found  # before loader processes copy it
    tally, pace = _sweep(args, loaded, listing, roots, accelerator, run, graded=True)
    several = f"; {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    say(f"{len(listing)} photos of {classes} classes; {left_out} of other classes are left out{several}.")
    tell_skipped(skipped)
    if not tally.images:
        raise InputError(f"None of the {len(listing)} photos under {named(roots)} can be read; mend or replace them.")
    top1, top5, macs = (total / tally.images for total in (tally.first, tally.five, tally.macs))
    result = {
        "model": args.model,
        "data": data_told(args.data),
        "images": tally.images,
        "left_out": left_out,
        "skipped": skipped.files,
        "top1": top1,
        "top5": top5,
        "mean_macs": macs,
        "dense_macs": loaded.dense_macs,
    }
    text = (
        f"{args.model} on {tally.images} photos{_unreadable(tally)}: "
        f"top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} %, "
        f"{macs / 1e9:.4g} GMACs ({100 * macs / loaded.dense_macs:.1f} % of dense){_pace(pace)}"
    )
    result = _with_pace(result | {"unreadable": tally.unreadable}, args, tally, pace)
    if args.record is not None and accelerator.is_main_process:
        with printed_anyway(result, text):
            cost = (macs, loaded.dense_macs, tally.images)
            add_row(args.record, Recorded(args.model, setting_of(args), top1, top5, *cost))
    return result, text


def _sweep(
    args: PhotosRequest,
    loaded: Loaded,
    listing: PhotoList,
    roots: Sequence[Path],
    accelerator: Accelerator,
    run: NamedRunner | None = None,
    *,
    graded: bool,
    on_rows: Callable[[list[dict]], None] | None = None,
) -> tuple[Tally, Pace]:
    """Run over the list, with the file of results if one is asked for; `run`: in place of the model as it is."""
    world = accelerator.num_processes
    loaded.model.to(accelerator.device)
    run = run or runner_by(loaded, args.method, args.seed)
    file, done, tally = _open(args, loaded, listing, roots, world)
    before = int(done.sum())
    if args.out is not None and not is_stream(args.out):
        say(f"{len(listing)} photos; {before} of them are in {args.out} already.")
    line = Progress()

    def show(rows: list[dict]) -> None:
        if on_rows is not None:
            line.clear()
            on_rows(rows)
        for row in rows if graded else ():
            if "error" in row:
                line.clear()
                say(row["error"])
        if first_process():
            line.show(f"{tally.images + tally.unreadable} of {len(listing)} photos")

    task = Task(run, loaded.card.classes, accelerator.device, graded=graded)
    dataset = Photos(listing, load_photo, eval_transform(loaded.card.geometry.img_size, loaded.card.normalisation))
    numbers = {"batch": args.batch, "workers": args.workers, "rank": accelerator.process_index, "world": world}
    try:
        return sweep(task, listing, dataset, **numbers, file=file, resume_from=(done, tally), on_rows=show)
    except KeyboardInterrupt:
        if args.out is not None and not is_stream(args.out):
            say(f"\n{tally.images + tally.unreadable} photos are in {args.out}; the same command and --resume goes on.")
        raise
    finally:
        line.clear()
        if file is not None:
            file.close()


def _open(
    args: PhotosRequest, loaded: Loaded, listing: PhotoList, roots: Sequence[Path], world: int
) -> tuple[ResultFile | None, np.ndarray, Tally]:
    """The file of results, for the first process alone; what is in it, for all of them.

    Raises:
        InputError: In all processes, if it cannot be resumed, or they see other photos.
    """
    file, tally, done = None, Tally(), np.zeros(len(listing), dtype=bool)
    if first_process() and args.out is not None:
        try:
            file = ResultFile(args.out, _header(args, loaded, listing, roots), resume=args.resume)
            done = file.done(listing, tally.add)
        except InputError as error:
            tally = str(error)
    done, tally, same = from_first((done, tally, listing.fingerprint()), world)
    if isinstance(tally, str):
        raise InputError(tally)
    if same != listing.fingerprint():
        raise InputError("The processes see different photos; give all of them the same folder.")
    return file, done, tally


def _header(args: PhotosRequest, loaded: Loaded, listing: PhotoList, roots: Sequence[Path]) -> dict:
    """The first line of a file of results: all that its lines depend on."""
    more = f" --seed {args.seed}" if args.method.startswith("random") else ""
    if args.engine != EAGER:
        more += f" --engine {args.engine}"
    return {
        "prunescope": 1,
        "command": args.command,
        "model": args.model,
        "weights": weights_fingerprint(loaded.model, loaded.card),
        "setting": setting_of(args) + more,
        "data": [str(root.resolve()) for root in roots],
        "photos": len(listing),
        "listing": listing.fingerprint(),
    }


def runner_by(loaded: Loaded, method: str = "own", seed: int = 0) -> NamedRunner:
    """How to run a loaded model over many photos.

    Raises:
        InputError: If a model without selectors is to keep patches in another way.
    """
    if method == "own":
        return unnamed(runner_of(loaded))
    if not isinstance(loaded.model, SoftTokenViT):
        raise InputError(f"{loaded.spec.name} has no token selectors, so --method {method} has nothing to choose.")
    model, geometry = loaded.model, loaded.card.geometry
    if method == "random":
        return repeatable_random_runner(model, geometry, seed)
    return unnamed(attention_runner(model, geometry))


def _with_pace(result: dict, args: PhotosRequest, tally: Tally, pace: Pace) -> dict:
    """The object with what ran and where its lines are."""
    found = result | {"images_per_s": pace.images_per_s, "waiting_share": pace.waiting_share}
    if args.out is not None:
        found |= {"out": str(args.out), "photos": tally.images + tally.unreadable}
    return found


def _print(rows: list[dict]) -> None:
    """Photos for a person as they are done: nothing is kept of them."""
    for row in rows:
        print(_line(row), flush=True)


def _line(row: dict) -> str:
    """One photo as a person reads it."""
    if "error" in row:
        return f"Not read: {row['error']}"
    guesses = ", ".join(f"{g['label']} {100 * g['prob']:.1f} %" for g in row["top5"])
    alive = "" if row["kept"] is None else f"; patches kept {', '.join(map(str, row['kept']))}"
    return f"{row['file']}: {guesses}\n  {row['macs'] / 1e9:.4g} GMACs{alive}"


def _unreadable(tally: Tally) -> str:
    """How many photos could not be read, if any."""
    return f" ({tally.unreadable} more cannot be read)" if tally.unreadable else ""


def _pace(pace: Pace) -> str:
    """How fast it went, if anything did."""
    if pace.images_per_s is None or pace.waiting_share is None:
        return "; all of them were done already"
    return f"; {pace.images_per_s:.0f} images/s, {100 * pace.waiting_share:.0f} % of the time waiting for photos"
