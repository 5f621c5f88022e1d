"""`report`: what a model gets wrong on a folder, how sure it is, and whether kept patches lie on the object."""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch

from core.commands.endings import printed_anyway
from core.commands.loading import NAME_THEM, load_model_of, setting_of, tell_skipped
from core.commands.parsers import REPORT_DRAWS
from core.commands.requests import ReportRequest, read
from core.commands.shared import Progress, pick_device, say
from core.errors import InputError
from core.evaluation.passes import one_pass
from core.evaluation.report import (
    Answers,
    OnObject,
    calibration_error,
    class_accuracy,
    confusions,
    on_object,
    paired_interval,
    patches_inside,
)
from core.files import check_target, write_text
from core.files.json_text import json_text
from core.inference.common_classes import common_classes, renormalised
from core.models.description import description
from core.models.load import Loaded
from core.models.runners import runner_of
from core.photos.class_folders import match_folders, named, photos, split_roots
from core.photos.image import eval_transform, load_photo, upright_size, view_box
from core.photos.listing import PhotoList, labelled
from core.photos.loader import Photos, Share, photo_loader
from core.photos.walk import Skipped
from core.results import told_apart
from core.results.text import points
from core.soft_tokens.decide import random_like
from core.soft_tokens.method import counts_kept, token_runner
from core.soft_tokens.model import SoftTokenViT
from core.training.data import limited
from core.version import __version__

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels."""
Boxes = dict[str, Box]
"""By the photo's path under the data folder."""


def run_report(flags: argparse.Namespace) -> tuple[dict, str]:
    """Everything about one model on one folder."""
    args = read(ReportRequest, flags)
    if args.batch < 1 or args.workers < 0:
        raise InputError("--batch takes 1 or more, --workers 0 or more.")
    check_target(args.record, "--record")
    if args.record is not None:
        read_reports(args.record)  # something else is found out before the work, too
    tables = None if args.boxes is None else _tables(args.boxes, args.data)
    loaded = load_model_of(args)
    if not isinstance(loaded.model, SoftTokenViT) and (tables is not None or args.against_random is not None):
        raise InputError(f"{args.model} keeps all patches; --boxes and --against-random are for token selectors.")
    roots = split_roots(args.data, "val")
    listing, skipped = labelled_photos(loaded, roots)
    tell_skipped(skipped)
    boxes = None if tables is None else _boxes_of(listing, args.data, tables)
    answers, places = answers_on(args, loaded, listing)
    names = told_apart(loaded.card.classes)
    result: dict = {
        "model": args.model,
        "prunescope": __version__,
        "setting": setting_of(args),
        "images": len(answers.labels),
        "unreadable": len(listing) - len(answers.labels),
        "parameters": description(loaded)["params"],
        "top1": answers.top(1),
        "top5": answers.top(5),
        "mean_macs": float(answers.macs.mean()),
        "dense_macs": loaded.dense_macs,
        "calibration_error": calibration_error(answers),
        "classes": dict(zip(names, class_accuracy(answers, len(names)), strict=True)),
        "confusions": [[names[true], names[said], count] for true, said, count in confusions(answers)],
    }
    if args.against is not None:
        result["against"] = _against(args, loaded, listing, answers)
    if args.against_random is not None:
        right = _right_at_random(args, loaded, _other(args, args.against_random), listing)
        found = paired_interval(answers.correct, right)
        result["against_random"] = {"model": args.against_random, "top1": float(right.mean()), **asdict(found)}
    if boxes is not None:
        found = _on_object(args, loaded, listing, places, answers, boxes)
        result["on_object"] = {**asdict(found), "way": found.way}
    text = _text(result)
    if args.record is not None:
        with printed_anyway(result, text):
            record(args.record, result)
    return result, text


def _tables(boxes: Sequence[Path], data: Sequence[Path]) -> list[Boxes]:
    """The tables of boxes.

    Raises:
        InputError: If there are neither as many tables as folders nor one.
    """
    tables = [read_boxes(path) for path in boxes]
    if len(tables) not in (1, len(data)):
        raise InputError(
            f"--boxes takes one table for all folders of --data, or one for each; not {len(tables)} for {len(data)}."
        )
    return tables


def _boxes_of(listing: PhotoList, data: Sequence[Path], tables: Sequence[Boxes]) -> dict[int, Box]:
    """The boxes by the photos' places in the list.

    Raises:
        InputError: If a table for several folders has a box for a photo that is in two of them.
    """
    found: dict[int, Box] = {}
    owner: dict[str, Path] = {}
    for place in range(len(listing)):
        path = Path(listing.path(place))
        root = max((root for root in data if path.is_relative_to(root)), key=lambda root: len(root.parts))
        file = path.relative_to(root).as_posix()
        table = tables[0] if len(tables) == 1 else tables[data.index(root)]
        if file not in table:
            continue
        if len(tables) == 1 and owner.setdefault(file, root) != root:
            raise InputError(
                f"{file} is a photo of {owner[file]} and one of {root}; give --boxes a table for each folder."
            )
        found[place] = table[file]
    return found


def read_boxes(path: Path) -> Boxes:
    """Boxes by the file's path under the data folder; lines without numbers are left out.

    Raises:
        InputError: If it is no such CSV.
    """
    edges = ("xmin", "ymin", "xmax", "ymax")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                row["file"]: (float(row["xmin"]), float(row["ymin"]), float(row["xmax"]), float(row["ymax"]))
                for row in csv.DictReader(file)
                if all(row[edge] for edge in edges)
            }
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path} is no table of boxes; give a CSV with the columns file, {', '.join(edges)}."
        ) from error


def read_reports(path: Path) -> list[dict]:
    """The results in a file of reports; none if it is not there.

    Raises:
        InputError: If the file is something else, or cannot be read.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["reports"] if path.is_file() else []
        return [row for row in rows if row["model"] is not None and row["setting"] is not None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no reports; name another file.") from error


def record(path: Path, result: dict) -> None:
    """Put one result into the file, in place of an older one of the same model and setting.

    Raises:
        InputError: If the file is something else, or cannot be written.
    """
    rows = [row for row in read_reports(path) if (row["model"], row["setting"]) != (result["model"], result["setting"])]
    try:
        write_text(path, json_text({"reports": [*rows, result]}, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); name another file.") from error


def _against(args: ReportRequest, loaded: Loaded, listing: PhotoList, answers: Answers) -> dict:
    """What another model says of the same photos, on the classes that both know.

    Raises:
        InputError: If they have no two classes in common, or no photo is of one of those.
    """
    assert args.against is not None  # as it is asked for
    other = _other(args, args.against)
    common = common_classes(loaded.card.classes, other.card.classes)
    if not common.comparable:
        raise InputError(
            f"{args.against} and {args.model} have {'only one class' if common.a else 'no class'} in common; compare "
            "with a model that knows more of the same classes."
        )
    rival, _ = answers_on(args, other, listing, tell=False)
    labels, said = answers.labels, {}
    if not common.are_all:
        place = {at: i for i, at in enumerate(common.a)}
        labels = np.array([place.get(int(label), -1) for label in labels])
        if not (labels >= 0).any():
            raise InputError(
                f"No photo under {named(args.data)} is of a class that both {args.against} and {args.model} know."
            )
        answers, rival = _over(answers, common.a, labels), _over(rival, common.b, labels)
        said = {"classes": len(common.a), "images": len(answers.labels), "own_top1": answers.top(1)}
    found = paired_interval(answers.correct, rival.correct)
    agree = float((answers.choices == rival.choices).mean())
    return {"model": args.against, "top1": rival.top(1), **asdict(found), "agreement": agree, **said}


def _over(answers: Answers, places: Sequence[int], labels: np.ndarray) -> Answers:
    """Answers on some classes alone, whose places in the model are given, n of them, without what was kept.

    `labels` are the photos' places among those, from 0 to n - 1; a photo of -1 is left out.
    """
    rows = labels >= 0
    return Answers(renormalised(answers.probabilities[rows], places), labels[rows], answers.macs[rows])


def _other(args: ReportRequest, name: str) -> Loaded:
    """The model to compare with, at its own setting."""
    own = replace(args, model=name, budget=None, keep=None, threshold=None)
    return load_model_of(replace(own, heads=None, arch=None, img_size=None))  # those are said of the other file


@torch.inference_mode()
def _right_at_random(args: ReportRequest, loaded: Loaded, other: Loaded, listing: PhotoList) -> np.ndarray:
    """How often `other` is right on each photo with as many patches dropped at random as `loaded` drops, (photos,).

    Raises:
        InputError: If its selectors stand elsewhere, or it knows other classes.
    """
    if other.card.classes != loaded.card.classes:
        raise InputError(
            f"{args.against_random} knows other classes than {args.model}; --against-random needs the same."
        )
    model, rival = loaded.model, other.model
    if not isinstance(model, SoftTokenViT) or not isinstance(rival, SoftTokenViT) or rival.blocks != model.blocks:
        raise InputError(f"{args.against_random} has no selectors where {args.model} has; --against-random needs them.")
    line, right = Progress(), []
    device = pick_device(args.device)
    generator = torch.Generator().manual_seed(args.seed)
    for images, places in _batches(args, loaded, listing, tell=False):
        wanted = torch.tensor([listing.label(place) for place in places])
        photos_here = images.to(device)
        counts = list(counts_kept(model.run(photos_here)[1]).T)
        draws = [token_runner(rival, other.card.geometry, random_like(counts, generator)) for _ in range(REPORT_DRAWS)]
        hits = [(one_pass(draw, photos_here).logits.argmax(dim=-1) == wanted).double() for draw in draws]
        right.append(torch.stack(hits).mean(dim=0).numpy())
        line.show(f"{sum(map(len, right))} photos with patches dropped at random")
    line.clear()
    return np.concatenate(right)


def labelled_photos(loaded: Loaded, roots: Sequence[Path], per_class: int | None = None) -> tuple[PhotoList, Skipped]:
    """The photos of the classes that the model knows, at most so many of each, and what lay among them."""
    folders, _ = match_folders(roots, loaded.card.classes, hint=NAME_THEM)
    found = photos(roots, folders, None)
    return labelled(found, None if per_class is None else limited(found, per_class).indices), found.skipped


def _batches(
    args: ReportRequest, loaded: Loaded, listing: PhotoList, *, tell: bool
) -> Iterator[tuple[torch.Tensor, tuple[int, ...]]]:
    """The photos as input of the model, (B, 3, H, W), and their B places in the list; `tell`: name the unreadable ones.

    Raises:
        InputError: If none can be read.
    """
    transform = eval_transform(loaded.card.geometry.img_size, loaded.card.normalisation)
    share, some = Share(np.arange(len(listing)), args.batch), False
    for batch in photo_loader(Photos(listing, load_photo, transform), share, workers=args.workers):
        for sentence in batch.errors.values() if tell else ():
            say(sentence)
        if batch.images is not None:
            some = True
            yield batch.images, batch.readable
    if not some:
        raise InputError(
            f"None of the {len(listing)} photos under {named(args.data)} can be read; mend or replace them."
        )


@torch.inference_mode()
def answers_on(
    args: ReportRequest, loaded: Loaded, listing: PhotoList, *, tell: bool = True
) -> tuple[Answers, list[int]]:
    """One pass over the photos; the places in the list of those that could be read."""
    card, device, line = loaded.card, pick_device(args.device), Progress()
    shares, places, macs, kept = [], [], [], []
    if isinstance(loaded.model, SoftTokenViT):
        run = token_runner(loaded.model, card.geometry, what=lambda stages: stages[-1].kept)
    else:
        run = runner_of(loaded)
    for images, here in _batches(args, loaded, listing, tell=tell):
        passed = one_pass(run, images.to(device))
        shares.append(passed.logits.softmax(dim=-1).numpy())
        macs.append(passed.macs.numpy())
        kept += [] if passed.kept is None else [passed.kept.numpy()]
        places += here
        line.show(f"{len(places)} of {len(listing)} photos")
    line.clear()
    alive = np.concatenate(kept) if kept else None
    labels = np.array([listing.label(place) for place in places])
    return Answers(np.concatenate(shares), labels, np.concatenate(macs), alive), places


def _on_object(
    args: ReportRequest,
    loaded: Loaded,
    listing: PhotoList,
    places: Sequence[int],
    answers: Answers,
    boxes: Mapping[int, Box],
) -> OnObject:
    """Kept patches beside the boxes; `places` in the list are those of `answers`.

    Raises:
        InputError: If no photo has a box.
    """
    kept = answers.kept
    assert kept is not None  # of a model with selectors
    last = round(kept.shape[1] ** 0.5)
    with_box, inside = [], []
    for at, place in enumerate(places):
        if place in boxes:
            view = view_box(upright_size(listing.path(place)), loaded.card)
            with_box.append(at)
            inside.append(patches_inside(boxes[place], view, (last, last)))
    if not with_box:
        raise InputError(
            f"No photo under {named(args.data)} has a box; the column file must hold paths such as val/CLASS/NAME."
        )
    if not kept[with_box].any():
        raise InputError("The last selector keeps no patch of any photo with a box; try a higher --keep.")
    return on_object(kept[with_box], np.array(inside))


def _text(result: dict) -> str:
    """The result as a person reads it."""
    cost = f"{result['mean_macs'] / 1e9:.4g} GMACs ({100 * result['mean_macs'] / result['dense_macs']:.1f} % of dense)"
    lines = [
        f"{result['model']} on {result['images']} photos: top-1 {100 * result['top1']:.2f} %, "
        f"top-5 {100 * result['top5']:.2f} %, {cost}, {result['parameters']:,} parameters",
        f"calibration error {100 * result['calibration_error']:.1f} % (15 bins)",
    ]
    if "against" in result:
        other = result["against"]
        photos_here = "photos"
        if "classes" in other:
            photos_here = f"{other['images']} photos of the {other['classes']} classes that both know"
        lines.append(
            f"{points(other['mean'], other['margin'])} beside {other['model']} on the same "
            f"{photos_here} (95 %); they agree on {100 * other['agreement']:.1f} %"
        )
    if "against_random" in result:
        other = result["against_random"]
        lines.append(
            f"{points(other['mean'], other['margin'])} beside {other['model']} with as many "
            f"patches dropped at random ({100 * other['top1']:.2f} %, {REPORT_DRAWS} draws)"
        )
    if "on_object" in result:
        found = result["on_object"]
        way = "" if found["way"] is None else f"; {100 * found['way']:.0f} % of the way"
        lines.append(
            f"finally kept patches inside the box: {100 * found['kept']:.1f} %; chance {100 * found['chance']:.1f} %, "
            f"best {100 * found['best']:.1f} %{way} ({found['photos']} photos)"
        )
    known = {name: share for name, share in result["classes"].items() if share is not None}
    lines += [f"  {name:28} {100 * share:5.1f} %" for name, share in sorted(known.items(), key=itemgetter(1))]
    lines += [f"  {true} taken for {said}: {count}" for true, said, count in result["confusions"]]
    return "\n".join(lines)
