"""`fetch`: get the weights of timm's and of released models onto this machine, once."""

import argparse

from core.commands.requests import FetchRequest, read
from core.commands.shared import Progress, say
from core.models.load import read_model
from core.models.registry import list_models


def run_fetch(flags: argparse.Namespace) -> tuple[dict, str]:
    """Download and read the weights, so that what is kept is known to be whole."""
    args = read(FetchRequest, flags)
    entry = next((entry for entry in list_models() if entry.name == args.model), None)
    if entry is not None and entry.download_mb:
        say(f"Downloading the weights of {args.model}, about {entry.download_mb:.0f} MB …")
    line = Progress()
    _, card = read_model(
        args.model,
        download=True,
        on_bytes=lambda done, total: line.show(f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total else " MB")),
    )
    line.clear()
    return {"model": args.model, "classes": card.geometry.classes}, f"{args.model} is on this machine."
