"""A training run on disk: settings, metrics as JSON lines, weights and the state to resume from, written atomically."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.files import write_text
from core.json_text import json_text


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


def open_run(folder: Path, settings: dict, *, resume: bool) -> Run:
    """Make the folder of a new run, or reopen one.

    Args:
        folder: Where the run writes.
        settings: What was asked for; kept as settings.json and compared on resuming.
        resume: Go on from the newest state.

    Raises:
        InputError: If a new run would overwrite an old one, or a resumed one was started differently.
    """
    path = folder / "settings.json"
    settings = json.loads(json_text(settings))
    if path.exists():
        before = json.loads(path.read_text())
        if not resume:
            raise InputError(f"{folder} already holds a run; add --resume to go on with it, or name another --out.")
        changed = sorted(k for k in settings if settings[k] != before.get(k))
        if changed:
            raise InputError(
                f"{folder} was started with other settings ({', '.join(changed)}); repeat those to resume it."
            )
    elif resume and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds no run to resume; name the folder that --out named.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json_text(settings, indent=1))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another --out.") from error
    return Run(folder)


def append_metrics(run: Run, record: dict) -> None:
    """Add one line to the run's metrics."""
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write(json_text(record) + "\n")


def read_metrics(run: Run) -> list[dict]:
    """All complete lines of the run's metrics."""
    if not run.metrics.exists():
        return []
    return [json.loads(line) for line in run.metrics.read_text().splitlines() if line.endswith("}")]


def truncate_metrics(run: Run, epochs: int) -> None:
    """Drop lines of epochs that the state to resume from has not seen."""
    kept = [record for record in read_metrics(run) if record["epoch"] <= epochs]
    if run.metrics.exists():
        write_text(run.metrics, "".join(json_text(record) + "\n" for record in kept))


def commit_state(run: Run, temporary: Path, epoch: int, steps: int = 0) -> None:
    """Turn a fully written folder into the state after `epoch` epochs and `steps` of the next, then drop older ones."""
    target = run.folder / (f"state-{epoch:05d}" + (f"-{steps:07d}" if steps else ""))
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)
    for old in sorted(run.folder.glob("state-[0-9]*[0-9]"))[:-1]:
        shutil.rmtree(old)
