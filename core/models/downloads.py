"""Weights on their way onto this machine, in a process of its own: it can be watched, and ended at any moment."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

import core
from core.models.registry import hub_repo
from core.models.releases.fetch import cached_file
from core.models.releases.files import released_names

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 5
"""A cancelled download that has not ended by then is killed."""


class Download:
    """One model's weights being fetched; started by creating it."""

    def __init__(self, name: str, command: Sequence[str] | None = None) -> None:
        """Start it.

        Args:
            name: A name from `list_models`, of timm or of a release.
            command: What fetches it; None: `python -m core fetch NAME`.
        """
        self.name = name
        self.cancelled = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, lives as long as the download
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", core.__name__, "fetch", name],
            cwd=ROOT,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Whether it is still under way."""
        return self._process.poll() is None

    @property
    def arrived(self) -> bool:
        """Whether the weights are on this machine now."""
        return self._process.poll() == 0

    @property
    def failure(self) -> str | None:
        """Once it has ended: one sentence that says what went wrong and what to do; None if nothing did."""
        if self.running or self.cancelled or self._process.returncode == 0:
            return None
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if told:
            return told[-1]
        return f"The download of {self.name} ended by itself; try again, or run `python -m core fetch {self.name}`."

    @property
    def done_mb(self) -> float:
        """Megabytes on the disk so far."""
        return done_mb(self.name)

    def wait(self) -> None:
        """Wait until it has ended, in whatever way."""
        self._process.wait()

    def cancel(self) -> None:
        """End it and remove what it has left; returns at once."""
        self.cancelled = True
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        if self.running:
            self._process.send_signal(signal.SIGINT)  # Python then tidies up behind itself
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self.name in released_names():  # the hub goes on from its own partial files
            for path in _partial_files(self.name):
                path.unlink(missing_ok=True)


def done_mb(name: str) -> float:
    """Megabytes on the disk so far of weights that are being fetched."""
    return sum(path.stat().st_size for path in _partial_files(name) if path.is_file()) / 1e6


def _partial_files(name: str) -> list[Path]:
    """Files that grow while the weights of `name` are being fetched."""
    if name in released_names():
        target = cached_file(released_names()[name][1])
        return list(target.parent.glob(f"{target.name}.*"))
    repo = hub_repo(name)
    if repo is None:
        return []
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs"
    return list(folder.glob("*.incomplete"))
