"""Weights on their way onto this machine: watched, cancelled, failed."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from core.__main__ import main
from core.config import ModelSpec
from core.costs.deit import DeitGeometry
from core.errors import InputError
from core.models import downloads
from core.models import load as checkpoints
from core.models.downloads import Download
from core.models.registry import hub_repo, list_models
from core.models.releases import fetch

NAME = "deit_ti_l200_t10"
FILE = "spvit_deit_ti_l200_t10.pth"


def ended(download: Download) -> Download:
    download._process.wait()
    assert not download.running
    return download


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of released files."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_a_download_that_succeeds_has_no_failure(cache) -> None:
    download = ended(Download(NAME, [sys.executable, "-c", "pass"]))
    assert download.arrived
    assert download.failure is None


def test_a_failure_is_the_sentence_that_the_command_said(cache) -> None:
    code = "import sys; sys.stderr.write('Downloading\\nerror: There is no network; get one.\\n'); sys.exit(2)"
    assert ended(Download(NAME, [sys.executable, "-c", code])).failure == "There is no network; get one."
    crash = ended(Download(NAME, [sys.executable, "-c", "raise SystemError"])).failure
    assert "Traceback" not in crash
    assert f"python -m core fetch {NAME}" in crash


FETCHING = """
import signal, sys, time
{on_interrupt}
open(sys.argv[1], "wb").write(bytes(3_000_000))
open(sys.argv[2], "w").write("so far")  # until somebody reads
while True:
    time.sleep(0.01)  # signal.pause would wait for ever for a signal that came just before it
"""
"""Fetches 3 MB, says so, and goes on for ever."""


def fetching(cache: Path, on_interrupt: str) -> tuple[Download, Path]:
    """Such a download with 3 MB done, and the pipe by which it spoke."""
    pipe = cache.parent / "pipe"
    os.mkfifo(pipe)
    code = FETCHING.format(on_interrupt=on_interrupt)
    download = Download(NAME, [sys.executable, "-c", code, str(cache / f"{FILE}.part"), str(pipe)])
    assert pipe.read_text() == "so far"
    return download, pipe


def cancelled(download: Download) -> threading.Thread:
    """Cancelled, and still tidying up in this thread."""
    others = set(threading.enumerate())
    download.cancel()
    (tidying,) = set(threading.enumerate()) - others
    return tidying


def test_a_download_can_be_watched_and_cancelled_and_leaves_nothing(cache, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_S", None)
    # asked to end, it takes until it is read again
    download, pipe = fetching(
        cache, "signal.signal(signal.SIGINT, lambda *_: (open(sys.argv[2], 'w').write('bye'), sys.exit(130)))"
    )
    assert download.running
    assert download.done_mb == 3
    tidying = cancelled(download)
    assert download.running, "cancelling waited for its end"
    assert download.cancelled
    assert pipe.read_text() == "bye"
    tidying.join()
    assert ended(download).failure is None
    assert not list(cache.iterdir())


def test_a_cancelled_download_that_does_not_end_is_ended(cache, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_S", 0)
    download, _ = fetching(cache, "signal.signal(signal.SIGINT, signal.SIG_IGN)")
    download.cancel()
    assert ended(download)._process.returncode == -signal.SIGKILL


def test_partial_files_of_the_hub_are_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(downloads.constants, "HF_HUB_CACHE", str(tmp_path))
    blobs = tmp_path / "models--timm--deit_tiny_patch16_224.fb_in1k" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(bytes(2_000_000))
    (blobs / "whole").write_bytes(bytes(500))
    download = ended(Download("deit_tiny_patch16_224.fb_in1k", [sys.executable, "-c", "pass"]))
    assert download.done_mb == 2.0


def test_fetch_of_the_command_line_reads_what_came_and_says_that_it_is_here(monkeypatch, capsys) -> None:
    asked = []

    class Card:
        geometry = DeitGeometry(32, 8, 32, 4, 2, 64, 3)

    def read(name, *, download, on_bytes):
        asked.append((name, download))
        return None, Card

    monkeypatch.setattr("core.commands.fetch.read_model", read)
    assert main(["fetch", NAME]) == 0
    assert asked == [(NAME, True)]
    assert "on this machine" in capsys.readouterr().out


def test_a_hub_that_does_not_answer_is_said_at_once(monkeypatch) -> None:
    class Dead:
        def head(self, *_, **__):
            raise OSError("Name or service not known")

    monkeypatch.setattr(fetch, "get_session", Dead)
    monkeypatch.setattr(checkpoints, "cached_weights", lambda name: False)
    with pytest.raises(InputError, match="cannot be reached from this machine") as caught:
        checkpoints.load(ModelSpec("deit_tiny_patch16_224.fb_in1k"), download=True)
    assert "choose a bundled model" in str(caught.value)


def test_what_must_be_downloaded_says_how_much_and_what_is_here_does_not() -> None:
    for entry in list_models():
        by_file = "given as a file" in entry.note or "--probe" in entry.note  # no weights that answer, by name
        assert (entry.download_mb is None) == (entry.available or by_file), entry.name
        if entry.download_mb:
            assert f"about {entry.download_mb:.0f} MB" in entry.note
    assert hub_repo("deit_tiny_patch16_224.fb_in1k") == "timm/deit_tiny_patch16_224.fb_in1k"
