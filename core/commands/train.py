"""`train`: a dense ViT, or a teacher, from an ImageFolder to a weights file in a run's folder."""

import argparse
import math
import time
from dataclasses import replace

import torch
from timm.layers import PatchDropout
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from core.commands.flags import USUAL
from core.commands.parsers import FINE_TUNING, FROM_SCRATCH
from core.commands.requests import TrainRequest, read
from core.commands.session import EVAL_BATCH, dense_model, objective_of, open_session
from core.commands.shared import Progress, duration, numbers, say, say_here
from core.config import Normalisation
from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.families.base import Size, SizedFamily
from core.families.families import family, family_of_timm, layout_of, sized_family
from core.families.timm_models import normalisation_of
from core.models.cards import ModelCard, TeacherCard, class_names
from core.models.runners import dense_runner
from core.photos.batches import labelled_batch
from core.photos.class_folders import class_folders, classes_under, named, photos, read_class_list, split_roots
from core.photos.image import eval_transform
from core.training import teachers
from core.training.data import limited
from core.training.dense import DenseStep
from core.training.lvvit import LvvitStep, dense_step
from core.training.objectives import Objective
from core.training.probe import features, fit_head
from core.training.rates import by_size
from core.training.readable import Readable
from core.training.runs import append_metrics, check_run, writing
from core.training.teachers import Classifier

HEAD_FACTOR = 5.0
"""The rate of a head of a fine-tuned model, in rates of its last block."""


def run_train(flags: argparse.Namespace) -> tuple[dict, str]:
    """Train a dense model, or a teacher; the usual values are those of fine-tuning where the weights were trained."""
    trained = flags.pretrained or flags.start_from is not None
    args = read(TrainRequest, flags, USUAL | (FINE_TUNING if trained else FROM_SCRATCH))
    check_run(args.out, resume=args.resume)
    folders = class_folders(split_roots(args.data, "train"))
    if args.classes is not None:
        folders = read_class_list(args.classes, folders)
    if not 0 <= args.drop_path < 1:
        raise InputError(f"--drop-path is a rate from 0 to below 1; not {args.drop_path}.")
    if (args.pretrained or args.as_teacher) and args.model is None:
        raise InputError("--pretrained and --as-teacher need --model, a name of timm's.")
    if args.start_from is not None and args.model is not None:
        raise InputError("--start-from says which model it is; omit --model.")
    if args.probe and not (args.pretrained or args.start_from is not None):
        raise InputError("--probe reads what a trained backbone sees; give --start-from, or --model and --pretrained.")
    if args.probe and args.within_root:
        raise InputError("--probe learns all classes together; omit --within-root, or train without --probe.")
    _check_rates(args)
    model, card = (_teacher if args.as_teacher else _student)(args, folders)
    macs = card.macs if isinstance(card, TeacherCard) else count_macs(card.geometry).total
    if args.probe:
        return _probe(args, model, card, folders, macs)
    if args.patch_drop:
        _drop_patches(model, args.patch_drop)
    step = dense_step(model, _objective(args, card, folders))
    session = open_session(args, card, folders, hold_out=False, within=args.within_root)

    def after_epoch(step: DenseStep | LvvitStep, epoch: int) -> dict:
        judged = step.model if average is None else average.module.eval()
        found = session.validate(dense_runner(judged, macs))
        session.save(judged, card, {"epochs": epoch, "val_top1": found.top1})
        return {"val_top1": found.top1, "val_top5": found.top5, "val_images": found.images}

    average = ModelEmaV3(model, decay=args.average, use_warmup=True) if args.average else None
    return session.fit(step, _optimizer(model, replace(args, lr=session.args.rate)), after_epoch, average=average)


def _probe(
    args: TrainRequest, model: Classifier, card: ModelCard | TeacherCard, folders: list[str], macs: int
) -> tuple[dict, str]:
    """Give `model` a linear head that is learned on what its backbone sees of each training photo, and save it.

    Raises:
        InputError: If the model has not one linear head, or several processes are at it.
    """
    head = model.get_classifier()
    if not isinstance(head, nn.Linear):
        raise InputError("--probe learns one linear head, and this model has another kind; train it without --probe.")
    session = open_session(args, card, folders, hold_out=False)
    if session.accelerator.num_processes > 1:
        raise InputError("--probe runs in one process; start it without torchrun.")
    seen = photos(split_roots(args.data, "train"), folders, eval_transform(session.img_size, card.normalisation))
    if args.limit_per_class is not None:
        seen = limited(seen, args.limit_per_class)
    seen = Readable(seen, say_here)
    device = session.accelerator.device
    model.to(device).eval()
    line, began = Progress(), time.monotonic()

    def progress(done: int) -> None:
        each = (time.monotonic() - began) / done
        left = duration(each * (len(seen) - done))
        line.show(f"features of {done}/{len(seen)} photos, {1 / each:.3g} photos/s, {left} left")

    batches = DataLoader(seen, EVAL_BATCH, num_workers=args.workers, collate_fn=labelled_batch)
    x, labels = features(model, ((images.to(device), wanted) for images, wanted in batches), progress)
    line.clear()
    say(f"Features of {len(seen)} photos are computed; learning the head")
    weight, bias, held = fit_head(x, labels, len(folders))
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    found = session.validate(dense_runner(model, macs))
    told = {"epoch": 0, "held_out_top1": held, "val_top1": found.top1, "val_images": found.images}
    told |= session.left_out()
    with writing(session.run):
        session.save(model, card, {"epochs": 0, "val_top1": found.top1})
        append_metrics(session.run, told)
    weights = str(session.run.weights)
    return {"weights": weights, **told}, f"{found.top1:.1%} of {found.images} photos; the weights are in {weights}."


def _objective(args: TrainRequest, card: ModelCard | TeacherCard, folders: list[str]) -> Objective:
    """What to learn from.

    Raises:
        InputError: If a photo cannot compete among the classes of its root alone.
    """
    if not args.within_root:
        return objective_of(args, card)
    if len(args.data) < 2:
        raise InputError("--within-root is for several roots; give --data more than once, or omit it.")
    if args.mixup or args.cutmix or args.teacher or args.distill:
        raise InputError(
            "--within-root mixes no photos and has no teacher: --mixup 0 --cutmix 0, no --teacher and no --distill."
        )
    roots = split_roots(args.data, "train")
    rivals = classes_under(roots, folders)
    alone = [root for root, count in zip(roots, rivals.sum(1).tolist(), strict=True) if count < 2]
    if alone:
        raise InputError(f"With --within-root each root needs two classes to tell apart; {named(alone)} has fewer.")
    return Objective(rivals=rivals)


def _check_rates(args: TrainRequest) -> None:
    """Refuse rates that `train` alone takes.

    Raises:
        InputError: If a value is out of its range.
    """
    if not 0 < args.layer_decay <= 1 or not 0 <= args.average < 1:
        raise InputError("--layer-decay takes a number above 0 and up to 1, --average one from 0 to below 1.")
    if args.head_lr is not None and not 0 < args.head_lr < math.inf:
        raise InputError(f"--head-lr takes a positive rate; not {args.head_lr}.")


def _drop_patches(model: Classifier, share: float) -> None:
    """Have `model` leave out that share of the patches while it is in training mode, in place.

    Raises:
        InputError: If `share` is none, or the model cannot.
    """
    if not 0 <= share < 1:
        raise InputError(f"--patch-drop is a share from 0 to below 1; not {share}.")
    if layout_of(model) != "flat":
        raise InputError("--patch-drop needs a model whose patches stay apart to the end: a DeiT or a ViT.")
    model.patch_drop = PatchDropout(share, num_prefix_tokens=model.num_prefix_tokens)


def _optimizer(model: Classifier, args: TrainRequest) -> torch.optim.Optimizer:
    """AdamW; a rate that falls from layer to layer, and the head's own."""
    skip = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    groups = param_groups_layer_decay(model, args.weight_decay, skip, layer_decay=args.layer_decay)
    if args.layer_decay < 1:  # trained before
        groups = by_size(model, groups)
    head = {id(p) for p in head_parameters(model)}
    head_scale = (HEAD_FACTOR if args.layer_decay < 1 else 1.0) if args.head_lr is None else args.head_lr / args.rate
    split = []
    for group in groups:
        own = [p for p in group["params"] if id(p) in head]
        rest = [p for p in group["params"] if id(p) not in head]
        split += [{**group, "params": rest}] if rest else []
        split += [{**group, "params": own, "lr_scale": head_scale}] if own else []
    return create_optimizer_v2(split, opt="adamw", lr=args.rate)


def head_parameters(model: Classifier) -> list[nn.Parameter]:
    """The parameters of the classifier, or of all that timm names as one."""
    names = model.pretrained_cfg.get("classifier", "head") if hasattr(model, "pretrained_cfg") else "head"
    names = (names,) if isinstance(names, str) else tuple(names)
    return [p for name, p in model.named_parameters() if name.startswith(tuple(f"{n}." for n in names))]


def _student(args: TrainRequest, folders: list[str]) -> tuple[nn.Module, ModelCard]:
    """A ViT that can be pruned: one that is there, timm's of that name, or one of the size that the flags give."""
    if args.start_from is not None:
        return _continued(args, args.start_from, folders)
    sized = sized_family(args.model)
    if sized is not None:
        if args.pretrained:
            raise InputError(f"A {args.model} of any size has no weights yet; omit --pretrained.")
        module, geometry = sized, _own_geometry(args, sized, len(folders))
        model, norm = sized.build(geometry, drop_path=args.drop_path), Normalisation()
    else:
        assert args.model is not None  # else it is of a size
        module = family_of_timm(args.model)
        size = {"classes": len(folders), "img_size": args.img_size}
        model = module.from_timm(args.model, pretrained=args.pretrained, **size)
        geometry, norm = module.geometry_of(model, args.model), module.normalisation_of(model)
    return model, ModelCard(module.FAMILY, geometry, class_names(folders), norm)


def _continued(args: TrainRequest, start_from: str, folders: list[str]) -> tuple[nn.Module, ModelCard]:
    """A dense model that was trained before, for other classes and another number of pixels."""
    before = dense_model(start_from, headless=True)
    classes = class_names(folders)
    geometry = replace(
        before.card.geometry, classes=len(folders), img_size=args.img_size or before.card.geometry.img_size
    )
    place = {c.wnid or c.label: i for i, c in enumerate(before.card.classes)}
    module = family(before.card.family)
    model = module.build(geometry, drop_path=args.drop_path)
    module.take_over(model, before.model, [place.get(c.wnid or c.label) for c in classes])
    return model, ModelCard(module.FAMILY, geometry, classes, before.card.normalisation)


def _teacher(args: TrainRequest, folders: list[str]) -> tuple[nn.Module, TeacherCard]:
    """Any classifier of timm, for others to learn from."""
    assert args.model is not None  # asked for with --as-teacher
    model = teachers.build(args.model, len(folders), pretrained=args.pretrained)
    size = args.img_size or model.pretrained_cfg["input_size"][-1]
    norm = replace(normalisation_of(model), crop_pct=1.0)
    return model, TeacherCard(args.model, size, teachers.counted_macs(model, size), class_names(folders), norm)


def _own_geometry(args: TrainRequest, sized: SizedFamily, classes: int) -> Geometry:
    """What the size flags of `train` describe.

    Raises:
        InputError: If no model has that size.
    """
    img_size = 64 if args.img_size is None else args.img_size
    shape = (img_size, args.width, args.depth, args.heads, classes, numbers(args.stem, int, "--stem"))
    try:
        return sized.of_size(Size(*shape, args.patch, args.stem_channels))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"That size of model is not possible: {error}.") from error
