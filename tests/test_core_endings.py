"""Commands that end early: one line, the right status, and never a traceback."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from core.__main__ import main
from core.commands import inspect
from core.commands.endings import Interrupts, UnwrittenError, deaf_children, printed_anyway, sentence_of, tell
from core.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Also where these tests run in a shell's background, which ignores Ctrl-C, and so what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ended_by(monkeypatch, capsys, ending: object) -> tuple[int, str]:
    """Status and stderr of a command whose work is `ending`."""
    monkeypatch.setattr(inspect, "run_models", ending)
    status = main(["models"])
    return status, capsys.readouterr().err


def test_ctrl_c_during_the_imports_is_one_line(tmp_path) -> None:
    """Pressed by the first module that the command imports from outside."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    ran = subprocess.run(
        [sys.executable, "-m", "core", "models"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (130, "", "stopped")


def test_an_interrupt_that_another_exception_hides_ends_the_command_all_the_same(monkeypatch, capsys) -> None:
    """As a loader process's does that dies of the same Ctrl-C."""

    def ending(args: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

    assert ended_by(monkeypatch, capsys, ending) == (130, "\nstopped\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_in_a_destructor_comes_again_behind_it(monkeypatch, capsys) -> None:
    class Loud:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def ending(args: object) -> tuple[dict, str]:
        loud = Loud()
        del loud
        time.sleep(60)  # cut short
        return {}, "went on"

    assert ended_by(monkeypatch, capsys, ending) == (130, "\nstopped\n")


def test_forked_and_deaf_processes_do_not_react_to_ctrl_c() -> None:
    with Interrupts():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGINT)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with deaf_children():
        code = "import signal; signal.raise_signal(signal.SIGINT); print('went on')"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "went on\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_is_ignored_from_outside_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def from_a_worker() -> InputError:
    """As torch raises again what a loader process raised."""
    trace = "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x"
    return InputError(f"{trace}\ncore.errors.InputError: a.png is cut off; mend or remove it.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("Give a --data."), "Give a --data."),
        (from_a_worker(), "a.png is cut off; mend or remove it."),
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Bus error. It is ..."), "signal: Bus error"),
        (RuntimeError("DataLoader worker (pid(s) 9) exited unexpectedly"), "fewer --workers"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "smaller --batch"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "smaller --batch"),
        (MemoryError(), "smaller --batch"),
        (OSError(errno.ENOSPC, "No space left on device", "/full/x"), "/full/x cannot be written (No space left"),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "(File too large)"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
    ],
)
def test_what_a_person_can_mend_is_a_sentence_and_a_bug_of_ours_is_not(error, sentence, monkeypatch, capsys) -> None:
    if sentence is None:
        assert sentence_of(error) is None
        return

    def ending(args: object) -> None:
        raise error

    status, said = ended_by(monkeypatch, capsys, ending)
    assert status == 2
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_a_result_that_cannot_be_written_is_printed(monkeypatch, capsys) -> None:
    def ending(args: object) -> None:
        with printed_anyway({"top1": 0.5}, "top-1 50 %"):
            raise InputError("There is no room.")

    monkeypatch.setattr(inspect, "run_models", ending)
    assert main(["models", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"top1": 0.5}
    assert captured.err == "error: There is no room.\n"
    with pytest.raises(UnwrittenError), printed_anyway({}, ""):
        raise InputError("There is no room.")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux that is always full")
def test_an_answer_for_which_stdout_has_no_room_is_a_sentence(monkeypatch, capsys) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["models"]) == 2
        monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.startswith("error: The answer cannot be written to stdout (No space left on device)")
    assert said.count("\n") == 1


def test_of_several_processes_whichever_fails_says_why_and_each_sentence_once(monkeypatch, capsys) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    tell("All fail alike.")  # they do not talk to each other yet: the first one on each machine says it
    assert capsys.readouterr().err == ""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        tell("Only this one.")
        tell("Only this one.")
    finally:
        torch.distributed.destroy_process_group()
    assert capsys.readouterr().err == "error: Only this one. (process 1)\n"
