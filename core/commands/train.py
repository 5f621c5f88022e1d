"""`train`: a dense ViT, or a teacher, from an ImageFolder to a weights file in a run's folder."""

import argparse
from dataclasses import replace
from pathlib import Path

from timm.optim import create_optimizer_v2
from torch import nn

from core.backbones import deit, lvvit
from core.backbones.families import family, family_of_timm
from core.cards import ModelCard, TeacherCard, class_names
from core.commands.session import add_loop, dense_model, objective_of, open_session
from core.commands.shared import add_common, numbers
from core.config import Geometry, Normalisation
from core.deit_counts import DeitGeometry
from core.errors import InputError
from core.evaluate import dense_runner
from core.lvvit_counts import LvvitGeometry
from core.macs import count_macs
from core.training import teachers
from core.training.data import class_folders, read_class_list, split_root
from core.training.dense import DenseStep
from core.training.lvvit import LvvitStep, dense_step


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    train = commands.add_parser("train", help="train a dense ViT on an ImageFolder")
    add_common(train)
    add_loop(train, epochs=24, lr_per_512=4.8e-3)
    train.add_argument(
        "--model",
        help="a deit_*, vit_* or swin_* of timm, lvvit_s or lvvit_m; lvvit: one of the size below (default: a small "
        "ViT of it)",
    )
    train.add_argument("--pretrained", action="store_true", help="start from timm's weights, with a new head")
    train.add_argument(
        "--as-teacher",
        action="store_true",
        help="train any classifier of timm, such as resnet18, to teach others; it cannot be pruned",
    )
    train.add_argument(
        "--start-from",
        metavar="MODEL",
        help="go on from this dense model (a name or a file), to --img-size pixels and the classes of --data",
    )
    train.add_argument("--img-size", type=int, help="pixels (default: those of --model or --start-from, else 64)")
    train.add_argument(
        "--stem", default="32,64,128", help="channels of the stride-2 convolutions (default %(default)s)"
    )
    train.add_argument(
        "--patch", type=int, default=8, help="side of a patch of --model lvvit, pixels (default %(default)s)"
    )
    train.add_argument(
        "--stem-channels", type=int, default=64, help="of the stem of --model lvvit (default %(default)s)"
    )
    train.add_argument("--width", type=int, default=128)
    train.add_argument("--depth", type=int, default=12)
    train.add_argument("--heads", type=int, default=4)
    train.add_argument("--drop-path", type=float, default=0.05)
    train.add_argument(
        "--classes", type=Path, help="text file with the class folders to use, one a line (default: all)"
    )
    train.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> tuple[dict, str]:
    """Train a dense model, or a teacher."""
    folders = class_folders(split_root(args.data, "train"))
    if args.classes is not None:
        folders = read_class_list(args.classes, folders)
    if not 0 <= args.drop_path < 1:
        raise InputError(f"--drop-path is a rate from 0 to below 1; not {args.drop_path}.")
    if (args.pretrained or args.as_teacher) and args.model is None:
        raise InputError("--pretrained and --as-teacher need --model, a name of timm's.")
    if args.start_from is not None and args.model is not None:
        raise InputError("--start-from says which model it is; leave --model away.")
    model, card = (_teacher if args.as_teacher else _student)(args, folders)
    macs = card.macs if isinstance(card, TeacherCard) else count_macs(card.geometry).total
    step = dense_step(model, objective_of(args, card))
    session = open_session(args, card, folders, hold_out=False)

    def after_epoch(step: DenseStep | LvvitStep, epoch: int) -> dict:
        found = session.validate(dense_runner(step.model, macs))
        session.save(step.model, card, {"epochs": epoch, "val_top1": found.top1})
        return {"val_top1": found.top1, "val_top5": found.top5, "val_images": found.images}

    optimizer = create_optimizer_v2(model, opt="adamw", lr=args.lr, weight_decay=args.weight_decay)
    return session.fit(step, optimizer, after_epoch)


def _student(args: argparse.Namespace, folders: list[str]) -> tuple[nn.Module, ModelCard]:
    """A ViT that can be pruned: one that is there, timm's of that name, or one of the size that the flags give."""
    if args.start_from is not None:
        return _continued(args, folders)
    if args.model == lvvit.FAMILY:
        if args.pretrained:
            raise lvvit.not_by_name(args.model)
        module, geometry = lvvit, _own_lvvit(args, len(folders))
        model, norm = lvvit.build(geometry, drop_path=args.drop_path), Normalisation()
    elif args.model is not None:
        module = family_of_timm(args.model)
        size = {"classes": len(folders), "img_size": args.img_size}
        model = module.from_timm(args.model, pretrained=args.pretrained, **size)
        geometry, norm = module.geometry_of(model, args.model), module.normalisation_of(model)
    else:
        module, geometry = deit, _own_geometry(args, len(folders))
        model, norm = deit.build(geometry, drop_path=args.drop_path), Normalisation()
    return model, ModelCard(module.FAMILY, geometry, class_names(folders), norm)


def _continued(args: argparse.Namespace, folders: list[str]) -> tuple[nn.Module, ModelCard]:
    """A dense model that was trained before, for other classes and another number of pixels."""
    before = dense_model(args.start_from)
    classes = class_names(folders)
    geometry = replace(
        before.card.geometry, classes=len(folders), img_size=args.img_size or before.card.geometry.img_size
    )
    place = {c.wnid or c.label: i for i, c in enumerate(before.card.classes)}
    module = family(before.card.family)
    model = module.build(geometry, drop_path=args.drop_path)
    module.take_over(model, before.model, [place.get(c.wnid or c.label) for c in classes])
    return model, ModelCard(module.FAMILY, geometry, classes, before.card.normalisation)


def _teacher(args: argparse.Namespace, folders: list[str]) -> tuple[nn.Module, TeacherCard]:
    """Any classifier of timm, for others to learn from."""
    model = teachers.build(args.model, len(folders), pretrained=args.pretrained)
    size = args.img_size or model.pretrained_cfg["input_size"][-1]
    norm = replace(deit.normalisation_of(model), crop_pct=1.0)
    return model, TeacherCard(args.model, size, teachers.counted_macs(model, size), class_names(folders), norm)


def _own_geometry(args: argparse.Namespace, classes: int) -> Geometry:
    """What the size flags of `train` describe.

    Raises:
        InputError: If no model has that size.
    """
    stem = numbers(args.stem, int, "--stem")
    img_size = 64 if args.img_size is None else args.img_size
    try:
        return DeitGeometry(img_size, 2 ** len(stem), args.width, args.depth, args.heads, 4 * args.width, classes, stem)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"That size of model is not possible: {error}.") from error


def _own_lvvit(args: argparse.Namespace, classes: int) -> LvvitGeometry:
    """The same for an LV-ViT: FFN ratio 3, a stem of its own.

    Raises:
        InputError: If no model has that size.
    """
    img_size = 64 if args.img_size is None else args.img_size
    try:
        shape = (img_size, args.patch, args.width, args.depth, args.heads, 3 * args.width, classes)
        return LvvitGeometry(*shape, stem_channels=args.stem_channels)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"That size of model is not possible: {error}.") from error
