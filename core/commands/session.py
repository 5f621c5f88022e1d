"""What the training commands share: what the flags ask for, data, run folder, evaluation and the loop's screen."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from core.commands.loading import tell_skipped
from core.commands.requests import TrainingRequest
from core.commands.shared import Progress, duration, pick_device, say, say_here
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.evaluation.evaluate import evaluate
from core.evaluation.sweep import exchange
from core.families.families import family_of_own, family_of_timm
from core.methods import SOFT_TOKENS, Method, check_takes
from core.models.cards import ModelCard, TeacherCard
from core.models.load import Loaded, load
from core.models.runners import Runner
from core.models.weights import save_checkpoint
from core.photos.batches import labelled_batch
from core.photos.class_folders import match_folders, named, photos, split_roots
from core.photos.image import eval_transform
from core.results import Evaluation
from core.training.data import held_out, limited, train_transform, untouched, within_root
from core.training.data_print import data_print
from core.training.loop import LoopSettings, Step, StepRecord, check_batch, fit, make_accelerator
from core.training.objectives import Objective
from core.training.readable import Labelled, Readable
from core.training.runs import Run, open_run, read_settings, writing
from core.training.teachers import load_teacher

EVAL_BATCH = 128
LOG_SECONDS = 30
"""A run's log gets a line this often."""


def loop_settings(args: TrainingRequest) -> LoopSettings:
    """The loop's settings from the flags.

    Raises:
        InputError: If a number is out of its range.
    """
    if args.epochs < 1 or args.batch < 2 or args.batch % 2 or not 0 < args.rate < math.inf or args.workers < 0:
        raise InputError("--epochs takes 1 or more, --batch an even number, --lr a positive rate, --workers 0 or more.")
    if not (args.weight_decay >= 0 and args.warmup_epochs >= 0 and args.mixup >= 0 and args.cutmix >= 0):
        raise InputError("--weight-decay, --warmup-epochs, --mixup and --cutmix take numbers of 0 or more.")
    for least in (args.limit_per_class, args.val_per_class, args.shrink_to):
        if least is not None and least < 1:
            raise InputError(f"--limit-per-class, --val-per-class and --shrink-to take 1 or more; not {least}.")
    if not args.save_minutes > 0:
        raise InputError(f"--save-minutes takes a number above 0; not {args.save_minutes}.")
    return LoopSettings(
        epochs=args.epochs,
        batch=args.batch,
        warmup_epochs=min(args.warmup_epochs, args.epochs / 2),
        mixup=args.mixup,
        cutmix=args.cutmix,
        workers=args.workers,
        precision=args.precision,
        save_minutes=args.save_minutes,
    )


def objective_of(args: TrainingRequest, card: ModelCard | TeacherCard, dense: nn.Module | None = None) -> Objective:
    """Task loss and distillation from the flags; without a --teacher from the `dense` model, if there is one.

    Raises:
        InputError: If the flags contradict each other, or the teacher cannot be loaded or lacks a class.
    """
    kind = args.distill or ("soft" if args.teacher or dense is not None else "none")
    if kind == "none" and args.teacher:
        raise InputError("--distill none learns from nobody; omit --teacher, or choose soft or hard.")
    if not 0 <= args.distill_share <= 1:
        raise InputError(f"--distill-share is a share between 0 and 1; not {args.distill_share}.")
    if kind == "none":
        return Objective()
    if args.teacher is None and dense is None:
        raise InputError(f"--distill {kind} needs a --teacher: a name, a file, or any classifier of timm.")
    teacher = dense if args.teacher is None else load_teacher(args.teacher, card.classes, card.normalisation)
    return Objective(teacher, kind, args.distill_share)


def recorded(args: TrainingRequest) -> dict:
    """The flags that make a run what it is; what a resumed run must repeat."""
    skip = {"lr_per_512", "json", "device", "resume", "out", "workers", "data", "precision", "save_minutes"}
    told = asdict(args) | {"lr": args.rate}
    return {key: str(value) if isinstance(value, Path) else value for key, value in told.items() if key not in skip}


def without_folders(told: dict) -> dict:
    """The same with absolute paths cut down to their last two parts: a weights file tells nobody's folders."""

    def short(value: object) -> object:
        if isinstance(value, dict):
            return without_folders(value)
        return "/".join(Path(value).parts[-2:]) if isinstance(value, str) and Path(value).is_absolute() else value

    return {key: short(value) for key, value in told.items()}


def img_size_of(card: ModelCard | TeacherCard) -> int:
    """Side of the square input, pixels."""
    return card.img_size if isinstance(card, TeacherCard) else card.geometry.img_size


@dataclass(frozen=True, eq=False)
class Session:
    """One training command at work; made by `open_session`."""

    args: TrainingRequest
    """As asked, with the learning rate of the run that is resumed where none was given."""
    card: ModelCard | TeacherCard
    accelerator: Accelerator
    run: Run
    train_set: Readable
    validation: DataLoader
    held: DataLoader | None
    """Photos of the training split that are not trained on, as the model sees them at evaluation."""

    @property
    def img_size(self) -> int:
        """Side of the square input, pixels."""
        return img_size_of(self.card)

    def validate(self, runner: Runner, patches: Sequence[int] | None = None) -> Evaluation:
        """Evaluate on the validation photos, over all processes; `patches`: N of the grid that each selector sees."""
        device, card = self.accelerator.device, self.card
        dense = isinstance(card, ModelCard)
        return evaluate(
            runner,
            ((images.to(device), labels.to(device)) for images, labels in self.validation),
            dense_macs=count_macs(card.geometry).total if dense else card.macs,
            patches=patches or (card.geometry.patches if dense else 1),
            gather=self.accelerator.gather_for_metrics,
        )

    def left_out(self) -> dict:
        """How many photos could not be read so far, to log; nothing if all could."""
        sets = (self.train_set, cast(Readable, self.validation.dataset))
        mine = [(number, index) for number, photos in enumerate(sets) for index in photos.damaged]
        count = len({photo for part in exchange(mine, self.accelerator.num_processes) for photo in part})
        return {"left_out": count} if count else {}

    def held_out_loader(self) -> DataLoader:
        """The held-out photos.

        Raises:
            ValueError: If this command holds none out.
        """
        if self.held is None:
            raise ValueError("this command holds no photos out")
        return self.held

    def agree(self, module: nn.Module) -> None:
        """Take over the main process's parameters, in place: what each worked out by itself may differ in last bits."""
        if self.accelerator.num_processes > 1:
            broadcast([parameter.data for parameter in module.parameters()])

    def save(self, module: nn.Module, card: ModelCard | TeacherCard, reached: dict, *, half: bool = True) -> None:
        """Write the run's weights, with how they were trained; the main process does."""
        module.eval()
        if self.accelerator.is_main_process:
            told = {"settings": recorded(self.args), **reached}
            training = {"command": self.args.command, **without_folders(told)}
            save_checkpoint(self.run.weights, module, replace(card, training=training), half=half)

    def fit(
        self,
        step: Step,
        optimizer: torch.optim.Optimizer,
        after_epoch: Callable[[Step, int], dict],
        on_step: Callable[[StepRecord], None] | None = None,
        average: ModelEmaV3 | None = None,
    ) -> tuple[dict, str]:
        """Train, and say where the weights are.

        Args:
            step: See `core.training.loop.fit`, as for all but `on_step`.
            optimizer: Its optimiser.
            after_epoch: Saves weights.
            on_step: Called on the main process beside the progress line.
            average: Of the weights.
        """
        show = show_progress(len(self.train_set), self.accelerator.num_processes, self.run.log)

        def each(record: StepRecord) -> None:
            show(record)
            if on_step is not None:
                on_step(record)

        def evaluated(module: Step, epoch: int) -> dict:
            record = after_epoch(module.eval(), epoch)
            record |= self.left_out()
            if self.accelerator.is_main_process:
                line = f"epoch {epoch}: {', '.join(f'{key} {_shown(value)}' for key, value in record.items())}"
                say(line)
                log_line(self.run.log, line)
            return record

        with writing(self.run):
            fit(
                step,
                optimizer,
                self.train_set,
                loop_settings(self.args),
                self.run,
                self.accelerator,
                classes=len(self.card.classes),
                after_epoch=evaluated,
                on_step=each,
                average=average,
            )
        weights, metrics = str(self.run.weights), str(self.run.metrics)
        return {"weights": weights, "metrics": metrics}, f"The weights are in {weights}, the metrics in {metrics}."


def _shown(value: object) -> str:
    """A metric for a person: numbers with four digits, lists too, yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def dense_model(name: str, *, weights: bool = True, headless: bool = False) -> Loaded:
    """A dense model by name or path; `weights=False`: only to be counted; `headless`: a backbone serves, too.

    Raises:
        InputError: If the model is pruned already.
    """
    loaded = load(ModelSpec(name), download=weights, weights=weights, headless=headless)
    if loaded.kind.pruned:
        raise InputError(f"{name} is pruned already; give the dense model that it came from.")
    return loaded


def dense_start(name: str, data: Sequence[Path], method: Method = SOFT_TOKENS) -> tuple[Loaded, list[str]]:
    """The dense model to start from, and the data's folders in the order of its classes.

    Raises:
        InputError: If the model is pruned already, or `method` cannot prune its family.
    """
    if timm.is_model(name) or family_of_own(name):
        check_takes(method, family_of_timm(name).FAMILY)  # before its weights are asked for
    loaded = dense_model(name)
    check_takes(method, loaded.card.family)
    folders, _ = match_folders(split_roots(data, "train"), loaded.card.classes, least=2)
    return loaded, folders


def open_session(
    args: TrainingRequest,
    card: ModelCard | TeacherCard,
    folders: list[str],
    *,
    hold_out: bool,
    prepare: Callable[[Readable, torch.device], None] | None = None,
    within: bool = False,
) -> Session:
    """Check the data and open the run's folder; nothing is written before all is checked.

    Args:
        args: The request.
        card: Geometry, classes and normalisation of the model.
        folders: Class folders in label order.
        hold_out: Keep a share of the training photos aside for calibration and verdicts.
        prepare: Given the photos that are trained on, as pictures, and the device, when all else is checked; not called
            where a state is there to go on from, as that holds what it would do.
        within: Label the training photos as `core.training.data.within_root` does.

    Raises:
        InputError: If flags, data or folder are not fit.
    """
    if args.resume and args.lr is None:
        args = replace(
            args, lr=(read_settings(args.out) or {}).get("lr")
        )  # the newest: it may have been lowered on the way
    settings = loop_settings(args)
    device = pick_device(args.device)
    size = img_size_of(card)
    norm = card.normalisation
    roots = split_roots(args.data, "train")
    judging = [root for root in args.data if (root / "val").is_dir()]
    if not judging:
        have = "have" if len(args.data) > 1 else "has"
        raise InputError(f"{named(args.data)} {have} no folder 'val'; training is judged on DATA/val/CLASS/photo.jpg.")
    if len(judging) < len(args.data):
        without = [root for root in args.data if root not in judging]
        say(f"No folder 'val' in {named(without)}; epochs are judged on the photos of {named(judging)}.")
    whole = photos(roots, folders, train_transform(size, norm, args.auto_augment, args.shrink_to))
    tell_skipped(whole.skipped)
    train_set: Labelled = within_root(whole) if within else whole
    plain = eval_transform(size, norm)
    held, loading = None, {"num_workers": args.workers, "collate_fn": labelled_batch}
    if hold_out:
        held = Readable(held_out(photos(roots, folders, plain), rest=False), say_here)
        held = DataLoader(held, EVAL_BATCH, **loading)
        train_set = held_out(train_set, rest=True)
    if args.limit_per_class is not None:
        train_set = limited(train_set, args.limit_per_class)
    accelerator = make_accelerator(device, settings.precision)
    check_batch(settings.batch, len(train_set), accelerator.num_processes)
    judged_on: Labelled = photos(split_roots(judging, "val"), folders, plain)
    tell_skipped(judged_on.skipped)
    _tell_unjudged(whole.targets, judged_on.targets, folders)
    samples = (whole.samples, judged_on.samples)
    if args.val_per_class is not None:
        judged_on = limited(judged_on, args.val_per_class)
    if prepare is not None and Run(args.out).state() is None:
        prepare(Readable(untouched(train_set), say_here), accelerator.device)
    if accelerator.is_main_process:
        same = {"data": data_print(*samples), "precision": accelerator.mixed_precision}
        open_run(args.out, recorded(args) | same, resume=args.resume)
    accelerator.wait_for_everyone()
    judged = Readable(judged_on, say_here, graded=True)
    validation = accelerator.prepare(DataLoader(judged, EVAL_BATCH * accelerator.num_processes, **loading))
    return Session(args, card, accelerator, Run(args.out), Readable(train_set, say_here), validation, held)


def _tell_unjudged(learned: Sequence[int], judged: Sequence[int], folders: Sequence[str]) -> None:
    """Say which classes are trained on and have no photo in val/."""
    known = set(learned)
    missing = [folders[label] for label in sorted(known - set(judged))]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        say(f"val/ has no photo of {len(missing)} of {len(known)} classes ({some}); epochs are judged on the others.")


def show_progress(photo_count: int, processes: int, log: Path) -> Callable[[StepRecord], None]:
    """A progress line with the rate and the time left, on a terminal and now and then in a log file.

    Says once, after a few steps, what the run will take.
    """
    line, told, logged = Progress(), [], [-math.inf]

    def show(record: StepRecord) -> None:
        if not told and record.step >= min(5, record.steps):
            where = f"on {processes} process" + ("es" if processes > 1 else "")
            left = duration(record.seconds_left)
            say(f"{photo_count} photos, {record.steps} steps an epoch {where}, about {left} to go")
            told.append(True)
        text = (
            f"epoch {record.epoch + 1}/{record.epochs} step {record.step}/{record.steps} loss {record.loss:.3f}, "
            f"{record.photos_per_s:.3g} photos/s, {duration(record.seconds_left)} left"
        )
        line.show(text)
        if time.monotonic() - logged[0] >= LOG_SECONDS or record.step == record.steps:
            log_line(log, text)
            logged[0] = time.monotonic()
        if record.step == record.steps:
            line.clear()

    return show


def log_line(log: Path, text: str) -> None:
    """Add a line, with the time of day, to a run's log."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')} {text}\n")
