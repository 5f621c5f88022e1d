"""`python -m core ...`: parses, calls, prints. Wrong input: one line on stderr and exit status 2."""

import argparse
import io
import os
import sys
from typing import NoReturn

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve each other
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # a moment of it is harmless, and a small model gains a quarter


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit 2."""
        self.exit(2, f"error: {message}; `{self.prog} --help` tells more.\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from accelerate.utils import set_seed

    from core.commands import bench, export, fetch, finetune, inspect, report, search, targets, train
    from core.commands.shared import emit, leave_together, notes_said, say
    from core.errors import InputError

    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no UTF-8; stderr escapes by itself
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = OneLineParser(prog="python -m core", description="See what a Vision Transformer can do without.")
    commands = parser.add_subparsers(dest="command", required=True)
    inspect.add_parsers(commands)
    for command in (report, fetch, train, search, finetune, export, bench, targets):
        command.add_parser(commands)
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong
        return int(end.code or 0)
    try:
        if not 0 <= args.seed < 2**32:
            raise InputError(f"--seed takes a whole number from 0 to 4294967295; not {args.seed}.")
        set_seed(args.seed)
        with notes_said():
            result, text = args.run(args)
        leave_together()
    except InputError as error:
        # One that a data worker raised carries its traceback; the last line is the sentence.
        say(f"error: {str(error).strip().splitlines()[-1].removeprefix('core.errors.InputError: ')}")
        return 2
    except KeyboardInterrupt:
        say("\nstopped")
        return 130
    try:
        emit(result, text, as_json=args.json)
    except BrokenPipeError:  # whoever read stdout (such as `head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
