"""`python -m core ...`: parses, calls, prints. Wrong input: one line on stderr and exit status 2."""

import argparse
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve each other


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from accelerate.utils import set_seed

    from core.commands import inspect, training
    from core.commands.shared import emit, say
    from core.errors import InputError

    parser = argparse.ArgumentParser(prog="python -m core", description="See what a Vision Transformer can do without.")
    commands = parser.add_subparsers(dest="command", required=True)
    inspect.add_parsers(commands)
    training.add_parsers(commands)
    args = parser.parse_args(argv)
    set_seed(args.seed)
    try:
        result, text = args.run(args)
    except InputError as error:
        say(f"error: {error}")
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
