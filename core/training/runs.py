"""A training run on disk: settings, metrics as JSON lines, weights and the state to resume from, written atomically."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from core.errors import InputError
from core.files import disk_reason, sync, write_text
from core.files.json_text import json_text

STATES = 2
"""Kept of a run: the newest, and the one before for the case that the newest is damaged."""


@dataclass(frozen=True)
class Run:
    """Folder of one run."""

    folder: Path

    @property
    def weights(self) -> Path:
        """The model in our own format, as of the last finished epoch."""
        return self.folder / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON object a line; a line per epoch."""
        return self.folder / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """Progress lines for a person who was not there."""
        return self.folder / "train.log"

    def state(self) -> Path | None:
        """The newest complete state, or None before the first is written."""
        states = sorted(self.folder.glob("state-[0-9]*[0-9]"))
        return states[-1] if states else None


def check_run(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that cannot be a run's, before any work; `open_run` refuses it too, but later.

    Raises:
        InputError: If it holds a run and is not to be resumed, or cannot be written.
    """
    if not resume and os.path.lexists(folder / "settings.json"):
        raise InputError(f"{folder} already holds a run; add --resume to go on with it, or name another --out.")
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another --out.") from error


def open_run(folder: Path, settings: dict, *, resume: bool) -> Run:
    """Make the folder of a new run, or reopen one.

    Args:
        folder: Where the run writes.
        settings: What was asked for; kept as settings.json and compared on resuming. "lr" may change then: the rates
            before are kept as "earlier_lr". "data" is of `core.training.data_print`, "precision" what is computed in.
        resume: Go on from the newest state.

    Raises:
        InputError: If a new run would overwrite an old one, a resumed one was started differently, or another process
            is at it.
    """
    path = folder / "settings.json"
    settings = json.loads(json_text(settings))
    before = read_settings(folder)
    if before is not None:
        if not resume:
            raise InputError(f"{folder} already holds a run; add --resume to go on with it, or name another --out.")
        _check_same(folder, before, settings)
        earlier = [*before.get("earlier_lr", [])] + ([before["lr"]] if before.get("lr") != settings.get("lr") else [])
        settings |= {"earlier_lr": earlier} if earlier else {}
    elif resume and folder.is_dir() and any(folder.iterdir()) and Run(folder).state() is None:
        raise InputError(f"{folder} holds no run to resume; name the folder that --out named.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _lock(folder)
        write_text(path, json_text(settings, indent=1))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another --out.") from error
    return Run(folder)


def _lock(folder: Path) -> None:
    """Make the folder this process's own until the process ends, however it does.

    Raises:
        InputError: If it is another's.
    """
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)  # left open: the system lets go of it
    try:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(held)
        raise InputError(f"{folder} is being written by another run; wait until it has ended.") from None
    except OSError:
        pass  # a file system without locks


def read_settings(folder: Path) -> dict | None:
    """What a run was started with; None where there is no run, or its settings were removed.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / "settings.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if os.path.lexists(path) else None
        if found is not None and not isinstance(found, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged; remove it, and --resume goes on with the settings of the command that you give."
        ) from error
    return found


def _check_same(folder: Path, before: dict, settings: dict) -> None:
    """Refuse to resume a run as another one; a flag that an older version did not have was not given then.

    Raises:
        InputError: If the data, the precision or a setting other than the rate differs.
    """
    data, now = before.get("data"), settings.get("data")
    if data is not None and data != now:
        raise InputError(
            f"{folder} was started on other data ({_told(data)}; now {_told(now)}); resume it with the same photos, or "
            "start a new run from its weights."
        )
    precision = before.get("precision")
    if precision is not None and precision != settings.get("precision"):
        raise InputError(
            f"{folder} was started in precision {precision}, and this would be {settings.get('precision')}; resume it "
            f"with --precision {precision}."
        )
    changed = sorted(
        f"{key} {before.get(key)}, now {value}"
        for key, value in settings.items()
        if key not in ("lr", "data", "precision") and value != before.get(key) and (key in before or value)
    )
    if changed:
        raise InputError(f"{folder} was started with other settings ({'; '.join(changed)}); repeat those to resume it.")


def _told(data: dict | None) -> str:
    """A data print as a person reads it."""
    if not isinstance(data, dict):
        return "unknown"
    return f"{data.get('train')} and {data.get('val')} photos of {data.get('classes')} classes, {data.get('listing')}"


@contextmanager
def writing(run: Run) -> Iterator[None]:
    """Whatever a full disk or a folder that went away raises within, as one sentence; half-written files are removed.

    Raises:
        InputError: Then; what was finished before is in the folder.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = disk_reason(error)
        if reason is None:
            raise
        for left in run.folder.glob("*.tmp"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if not run.folder.is_dir():
            raise InputError(f"{run.folder} is not there any more; put it back, then go on with --resume.") from error
        raise InputError(
            f"{run.folder} cannot be written ({reason}); what was finished is kept, so make room and --resume it."
        ) from error


@contextmanager
def reading_state(state: Path) -> Iterator[None]:
    """Whatever loading a damaged state raises within, as one sentence.

    Raises:
        InputError: Then.
    """
    try:
        sizes = state / "sizes.json"  # accelerate passes over random states that it cannot read
        if sizes.exists() and json.loads(sizes.read_text()) != _sizes(state):
            raise ValueError("files are missing or cut off")
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # nearly anything: of pickle, zip files, safetensors, torch, JSON
        older = any(other.name < state.name for other in state.parent.glob("state-[0-9]*[0-9]"))
        before = "--resume then goes on from the state before" if older else "its weights can start a new run"
        raise InputError(f"{state} is damaged, or of another model; remove it, and {before}.") from error


def append_metrics(run: Run, record: dict) -> None:
    """Add one line to the run's metrics."""
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write(json_text(record) + "\n")


def read_metrics(run: Run) -> list[dict]:
    """All complete lines of the run's metrics."""
    if not run.metrics.exists():
        return []
    return [found for line in run.metrics.read_text(errors="replace").splitlines() if (found := _record(line))]


def _record(line: str) -> dict | None:
    """One line of metrics; None if it was cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("epoch"), int) else None


def truncate_metrics(run: Run, epochs: int) -> None:
    """Drop lines of epochs that the state to resume from has not seen."""
    kept = [record for record in read_metrics(run) if record["epoch"] <= epochs]
    if run.metrics.exists():
        write_text(run.metrics, "".join(json_text(record) + "\n" for record in kept))


def _sizes(state: Path) -> dict[str, int]:
    """Bytes of each file of a state, but for the one that tells of them."""
    return {path.name: path.stat().st_size for path in sorted(state.iterdir()) if path.name != "sizes.json"}


def commit_state(run: Run, temporary: Path, epoch: int, steps: int = 0) -> None:
    """Turn a fully written folder into the state after `epoch` epochs and `steps` of the next, then drop older ones."""
    target = run.folder / (f"state-{epoch:05d}" + (f"-{steps:07d}" if steps else ""))
    if target.exists():
        shutil.rmtree(target)
    write_text(temporary / "sizes.json", json_text(_sizes(temporary)))
    for path in (*temporary.rglob("*"), temporary):
        sync(path)
    os.replace(temporary, target)
    sync(run.folder)
    for old in sorted(run.folder.glob("state-[0-9]*[0-9]"))[:-STATES]:
        shutil.rmtree(old)
