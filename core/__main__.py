"""`python -m core ...`: parses, calls, prints. Wrong input: one line on stderr and exit status 2."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from core.commands.stopping import STOPPED, leave_at_once
from core.commands.table import COMMANDS
from core.version import __version__

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave_at_once)  # the imports take seconds, and an exception in one may be swallowed

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve each other
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # a moment of it is harmless, and a small model gains a quarter


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit 2."""
        self.exit(2, f"error: {message}; `{self.prog} --help` tells more.\n")


class CommandParser(OneLineParser):
    """The parser of one command, which gets its flags when it is to parse: those of all others would cost imports."""

    def __init__(self, *, command: str, **more: Any) -> None:
        """Args: `command` is its name in the table; the others are those of any parser."""
        super().__init__(**more)
        self._command = command

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As any parser, with the command's flags."""
        from core.commands import parsers

        getattr(parsers, f"add_{self._command}")(self)
        return super().parse_known_args(args, namespace)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no UTF-8; stderr escapes by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    opens = "make app" if __package__ == "core" else "prunescope app"
    parser = OneLineParser(
        prog="python -m core",
        description="See what a Vision Transformer can do without.",
        epilog=f"`{opens}` opens the app in a browser.",
    )
    parser.add_argument("--version", action="version", version=f"Prunescope {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=CommandParser)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, command=name)
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong
        return int(end.code or 0)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Do what was asked for, which takes imports of seconds; returns the exit status."""
    from timm.utils import random_seed

    from core.commands.endings import Interrupts, UnwrittenError, sentence_of, tell
    from core.commands.shared import check_workers, close_stdout, emit, leave_together, notes_said, say
    from core.errors import InputError
    from core.files import is_stdout

    module = import_module(f"{__package__}.commands.{COMMANDS[args.command].module}")
    unwritten = None
    with Interrupts() as interrupts:
        try:
            if not 0 <= args.seed < 2**32:
                raise InputError(f"--seed takes a whole number from 0 to 4294967295; not {args.seed}.")
            random_seed(args.seed)
            check_workers(args)
            try:
                with notes_said():
                    result, text = getattr(module, f"run_{args.command}")(args)
            except UnwrittenError as error:
                unwritten, result, text = str(error), error.result, error.text
            leave_together()
            out = getattr(args, "out", None)
            emit(result, text, as_json=args.json, aside=out is not None and is_stdout(out))
        except BrokenPipeError:  # whoever read stdout (such as `head`) has seen enough
            close_stdout()
        except (KeyboardInterrupt, Exception) as error:
            if interrupts.pressed or isinstance(error, KeyboardInterrupt):
                say("\nstopped")
                return STOPPED
            sentence = sentence_of(error)
            if sentence is None:
                raise
            tell(sentence)
            return 2
    if unwritten is not None:
        tell(unwritten)
        return 2
    return 0


if __name__ == "__main__":
    status = main()
    if signal.getsignal(signal.SIGINT) is leave_at_once:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(status))  # all is said
    sys.exit(status)
