"""`bench`: what things cost on this machine, measured in turns within one run."""

import argparse
from dataclasses import asdict

from core.checkpoints import load
from core.commands.shared import add_common, pick_device
from core.config import ModelSpec
from core.errors import InputError
from core.training.cost import compare_steps, derive_ms
from core.training.loop import make_accelerator


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    bench = commands.add_parser("bench", help="measure speed on this machine")
    add_common(bench)
    bench.add_argument("--training", action="store_true", help="one step of dense training and of a search")
    bench.add_argument("--model", default="bundled-dense", help="a dense model; no weights are needed")
    bench.add_argument("--batch", type=int, default=128, help="photos per step (default %(default)s)")
    bench.add_argument("--precision", choices=("auto", "bf16", "no"), default="auto")
    bench.set_defaults(run=run_bench)


def run_bench(args: argparse.Namespace) -> tuple[dict, str]:
    """Measure what the flags ask for."""
    if args.batch < 1:
        raise InputError("--batch takes 1 or more.")
    return run_training(args)


def run_training(args: argparse.Namespace) -> tuple[dict, str]:
    """A search step in dense steps, and the time that deriving an architecture takes."""
    card = load(ModelSpec(args.model), weights=False).card
    accelerator = make_accelerator(pick_device(args.device), args.precision)
    found = compare_steps(card.geometry, accelerator, batch=args.batch)
    deriving = derive_ms(card.geometry)
    text = (
        f"{args.model}, batch {found.batch}, {found.device}, {found.threads} threads, precision {found.precision}: "
        f"a dense training step takes {found.dense_ms:.0f} ms (IQR {found.dense_iqr_ms:.0f}); a search step "
        f"{found.search_ratio:.2f} of that, {found.distilled_search_ratio:.2f} with a dense teacher; "
        f"deriving an architecture takes {deriving:.1f} ms"
    )
    return {"model": args.model, **asdict(found), "derive_ms": deriving}, text
