"""One training loop for every recipe, on Hugging Face accelerate: one laptop or many devices, the same code."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import DataLoaderConfiguration, DistributedDataParallelKwargs, broadcast
from timm.data import Mixup
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader, Dataset

from core.errors import InputError
from core.files.json_text import json_text
from core.photos.batches import labelled_batch
from core.training.objectives import SMOOTHING
from core.training.precision import mixed_precision
from core.training.runs import Run, append_metrics, commit_state, reading_state, truncate_metrics

Step = TypeVar("Step", bound=nn.Module)


@dataclass(frozen=True)
class LoopSettings:
    """How long and how hard to train; what a recipe's loss is made of is the recipe's own."""

    epochs: int
    batch: int
    """Photos per step over all processes together."""
    warmup_epochs: float = 1.0
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_grad: float = 1.0
    workers: int = 2
    precision: str = "auto"
    """"auto" (bf16 where the machine computes it natively), "bf16" or "no"."""
    save_minutes: float = 5.0
    """The state is saved this often within an epoch, too: what an interruption can cost."""


@dataclass(frozen=True)
class Position:
    """Where a saved state stands."""

    epochs: int
    """Done."""
    steps: int = 0
    """Done of the next epoch."""
    sums: dict[str, float] = field(default_factory=dict)
    """What is logged, summed over those steps."""
    seconds: float = 0.0
    """That those steps took."""


@dataclass(frozen=True)
class StepRecord:
    """Where training is; handed to `on_step`."""

    epoch: int
    step: int
    steps: int
    """Steps per epoch."""
    epochs: int
    loss: float
    seconds_left: float
    """Estimate from the steps so far."""
    photos_per_s: float
    """Of all processes together, since this run was started or resumed."""


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware (a GPU that does, or AVX-512 BF16 / AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return (
        device.type == "cpu"
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and torch.cpu._is_avx512_bf16_supported()
    )


def make_accelerator(device: torch.device, precision: str = "no") -> Accelerator:
    """The accelerator of this process, on its share of that kind of device; torchrun decides how many there are."""
    mixed = {"auto": "bf16" if native_bf16(device) else "no"}.get(precision, precision)
    return Accelerator(
        mixed_precision=mixed,
        cpu=device.type == "cpu",
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, split_batches=True),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def fit(
    step: Step,
    optimizer: torch.optim.Optimizer,
    train_set: Dataset,
    settings: LoopSettings,
    run: Run,
    accelerator: Accelerator,
    *,
    classes: int,
    after_epoch: Callable[[Step, int], dict],
    on_step: Callable[[StepRecord], None] | None = None,
    average: ModelEmaV3 | None = None,
) -> None:
    """Train `step` until `settings.epochs`, from the run's newest state if it has one.

    Args:
        step: Module whose forward takes images (B, 3, H, W), targets (B,) or (B, C) and the epochs passed
            (a float), and returns a scalar loss and a dictionary of plain numbers to log.
        optimizer: Its optimiser; rates follow a cosine, but a parameter group with "constant_lr" keeps that rate,
            and one with "wait_epochs" stands still that long.
        train_set: Pairs of image tensor and label.
        settings: Epochs, batch size and so on.
        run: Where states, metrics and weights are written.
        accelerator: From `make_accelerator`.
        classes: C, for mixup's soft targets.
        after_epoch: Called on every process with the bare `step` module and the epochs done; saves weights
            and returns what to log (equal on all processes).
        on_step: Called on the main process after each step.
        average: Follows the weights of `step.model`, update by update, and is part of the state.

    Raises:
        InputError: If the loss stops being a number.
    """
    workers = settings.workers
    more = {"num_workers": workers, "persistent_workers": workers > 0, "collate_fn": labelled_batch}
    loader = DataLoader(train_set, settings.batch, shuffle=True, drop_last=True, **more)
    step, optimizer, loader = accelerator.prepare(step, optimizer, loader)
    schedule, _ = create_scheduler_v2(
        optimizer,
        num_epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,  # pyright: ignore[reportArgumentType]: parts of one are fine with timm
        warmup_prefix=False,
        min_lr=1e-6,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    assert schedule is not None  # as there are epochs
    mix = None
    if settings.mixup or settings.cutmix:
        mix = Mixup(settings.mixup, settings.cutmix, prob=0.8, label_smoothing=SMOOTHING, num_classes=classes)
    if average is not None:
        accelerator.register_for_checkpointing(average)
    at = _resume(run, accelerator)
    began, done = time.monotonic(), 0
    saved = began
    for epoch in range(at.epochs, settings.epochs):
        skipped, sums, before = (at.steps, at.sums, at.seconds) if epoch == at.epochs else (0, {}, 0.0)
        photos = cast(DataLoaderShard, accelerator.skip_first_batches(loader, skipped) if skipped else loader)
        photos.set_epoch(epoch)
        step.train()
        epoch_began = time.monotonic()
        for index, (images, targets) in enumerate(photos, start=skipped):
            update = epoch * len(loader) + index
            schedule.step_update(update)
            _special_rates(optimizer.param_groups, update / len(loader))
            if mix is not None:
                images, targets = mix(images, targets)
            with mixed_precision(accelerator):
                loss, metrics = step(images, targets, update / len(loader))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(f"The loss became {value} in epoch {epoch + 1}; resume with a lower --lr.")
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(step.parameters(), settings.clip_grad)
            optimizer.step()
            optimizer.zero_grad()
            if average is not None:
                average.update(accelerator.unwrap_model(step).model, step=update)
            for key, number in {"loss": value, **metrics}.items():
                sums[key] = sums.get(key, 0.0) + number
            done += 1
            if on_step is not None and accelerator.is_main_process:
                each = (time.monotonic() - began) / done
                left = each * ((settings.epochs - epoch) * len(loader) - index - 1)
                on_step(StepRecord(epoch, index + 1, len(loader), settings.epochs, value, left, settings.batch / each))
            if index + 1 < len(loader) and _due(saved, settings.save_minutes, accelerator):
                seconds = before + time.monotonic() - epoch_began
                _save(run, accelerator, Position(epoch, index + 1, dict(sums), seconds))
                saved = time.monotonic()
        record = {"epoch": epoch + 1, "seconds": round(before + time.monotonic() - epoch_began, 1)}
        record |= {key: total / len(loader) for key, total in sums.items()}
        module = accelerator.unwrap_model(step)
        broadcast([buffer for buffer in module.buffers() if buffer.numel()])  # batch norms saw other photos elsewhere
        record |= after_epoch(module, epoch + 1)
        _save(run, accelerator, Position(epoch + 1), record)
        saved = time.monotonic()


def check_batch(batch: int, photos: int, processes: int) -> None:
    """Refuse a batch that cannot be trained with.

    Raises:
        InputError: If it does not divide among the processes in pairs (for mixup), or there are fewer photos.
    """
    if batch % (2 * processes):
        raise InputError(f"--batch must be a multiple of {2 * processes} on {processes} processes.")
    if photos < batch:
        raise InputError(f"{photos} training photos make no batch of {batch}; choose a smaller --batch.")


def _special_rates(groups: Iterable[dict], epoch: float) -> None:
    """Set the rate of the groups that leave the schedule: a constant one, or none until some epochs have passed."""
    for group in groups:
        if "constant_lr" in group:
            group["lr"] = group["constant_lr"]
        elif epoch < group.get("wait_epochs", 0.0):
            group["lr"] = 0.0


def _due(saved: float, minutes: float, accelerator: Accelerator) -> bool:
    """Whether the state was saved at `saved` and is to be saved again; the main process's clock decides for all."""
    due = torch.tensor(float(time.monotonic() - saved > 60 * minutes), device=accelerator.device)
    return bool(broadcast(due) if accelerator.num_processes > 1 else due)


def _save(run: Run, accelerator: Accelerator, at: Position, record: dict | None = None) -> None:
    """Append an epoch's line and replace the state; a crash in between leaves the older state whole."""
    temporary = run.folder / "state.tmp"
    if accelerator.is_main_process and temporary.exists():
        shutil.rmtree(temporary)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (temporary / "progress.json").write_text(json_text(asdict(at)))
        if record is not None:
            append_metrics(run, record)
        commit_state(run, temporary, at.epochs, at.steps)
    accelerator.wait_for_everyone()


def _resume(run: Run, accelerator: Accelerator) -> Position:
    """Load the newest state; where it stands, the beginning if there is none."""
    state = run.state()
    if state is None:
        return Position(0)
    with reading_state(state):
        at = Position(**json.loads((state / "progress.json").read_text()))
        accelerator.load_state(str(state))
    if accelerator.is_main_process:
        truncate_metrics(run, at.epochs)
    return at
