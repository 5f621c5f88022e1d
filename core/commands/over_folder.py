"""What every way to evaluate shares: one pass over a folder of photos, with its progress."""

import numpy as np
from accelerate import Accelerator

from core.commands.loading import NAME_THEM, tell_skipped
from core.commands.requests import PhotosRequest
from core.commands.shared import Progress, say
from core.errors import InputError
from core.evaluation.sweep import Task, sweep, unnamed
from core.models.load import Loaded
from core.models.runners import Runner
from core.photos.class_folders import match_folders, named, photos, split_roots
from core.photos.image import eval_transform, load_photo
from core.photos.listing import labelled
from core.photos.loader import Photos
from core.results import Evaluation


def over_folder(args: PhotosRequest, accelerator: Accelerator, loaded: Loaded, run: Runner) -> Evaluation:
    """All photos of `--data` whose classes the model knows, once; those that cannot be read are named.

    Args:
        args: Which folders, and how they are read.
        accelerator: Of this process.
        loaded: Whose classes and input size; on the accelerator's device.
        run: What to evaluate.

    Raises:
        InputError: If the folder is none, holds no class that the model knows, or no photo that can be read.
    """
    card = loaded.card
    roots = split_roots(args.data, "val")
    folders, left_out = match_folders(roots, card.classes, hint=NAME_THEM)
    found = photos(roots, folders, None)
    listing = labelled(found)
    line, rows = Progress(), []

    def note(step: list[dict]) -> None:
        rows.extend(row for row in step if "error" not in row)
        for row in step:
            if "error" in row:
                line.clear()
                say(row["error"])
        line.show(f"{len(rows)} of {len(listing)} photos")

    tally, pace = sweep(
        Task(unnamed(run), card.classes, accelerator.device, graded=True),
        listing,
        Photos(listing, load_photo, eval_transform(card.geometry.img_size, card.normalisation)),
        batch=args.batch,
        workers=args.workers,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        on_rows=note,
    )
    line.clear()
    several = f"; {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    say(f"{len(listing)} photos of {len(found.classes)} classes; {left_out} of other classes are left out{several}.")
    tell_skipped(found.skipped)
    if not rows:
        raise InputError(f"None of the {len(listing)} photos under {named(roots)} can be read; mend or replace them.")
    assert pace.images_per_s is not None  # as there are rows
    kept = None
    if rows[0]["kept"] is not None:
        patches = getattr(loaded.model, "patches", card.geometry.patches)
        kept = tuple((np.mean([row["kept"] for row in rows], axis=0) / np.asarray(patches)).tolist())
    return Evaluation(
        images=tally.images,
        left_out=left_out,
        top1=tally.first / tally.images,
        top5=tally.five / tally.images,
        mean_macs=tally.macs / tally.images,
        dense_macs=loaded.dense_macs,
        images_per_s=pace.images_per_s,
        correct=tuple(row["correct"] for row in rows),
        mean_kept=kept,
    )
