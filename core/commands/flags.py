"""Flags that several commands share. Light, as `core.commands.parsers`: it imports nothing that takes long."""

import argparse
from pathlib import Path

from core.config import DISTILL_KINDS
from core.results.timings import EAGER, ENGINES

USUAL = {"batch": 128, "warmup_epochs": 1.0, "mixup": 0.0, "cutmix": 0.0}
"""What training commands share unless they say otherwise."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1, mps; default: cuda where there is one")
    parser.add_argument("--seed", type=int, default=0)


def add_data(parser: argparse.ArgumentParser, help: str, *, required: bool = True) -> None:
    """The folders of photos; `help`: what one of them is."""
    together = "several, as --data A B, are taken together: class folders of one name are one class"
    parser.add_argument(
        "--data", type=Path, nargs="+", action="extend", required=required, metavar="DIR", help=f"{help}; {together}"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model and its settings."""
    parser.add_argument("--model", required=True, help="a name from `models`, or a weights file")
    parser.add_argument("--budget", help="GMACs such as 0.8, or a share of dense such as 60%% (single-path models)")
    parser.add_argument(
        "--keep",
        help="share of the patches alive after each selector, such as 0.7,0.5,0.3; of a PiT or a Swin, of those of its "
        "grid",
    )
    add_ranking(parser)
    parser.add_argument("--threshold", type=float, help="keep patches above this keep probability")
    add_hints(parser)
    parser.add_argument("--classes", type=Path, help="text file with the class names, one a line (default: the file's)")


def add_ranking(parser: argparse.ArgumentParser) -> None:
    """How tokens are pruned in a model without selectors, beside --keep."""
    parser.add_argument(
        "--blocks",
        help="of a model without selectors, rank patches by attention before these blocks, from 0, such as 3,6,9 "
        "(with --keep or --mass; default: spread over the model)",
    )
    parser.add_argument(
        "--mass", type=float, help="there keep the fewest patches that hold this share of the attention"
    )


def add_hints(parser: argparse.ArgumentParser) -> None:
    """What a weights file of others may not say."""
    parser.add_argument(
        "--heads", help="attention heads of a weights file that does not say them; of a PiT for each stage, as 2,4,8"
    )
    parser.add_argument("--arch", help="timm's name for the model of a weights file that does not say what it is")
    parser.add_argument("--img-size", type=int, help="pixels a side that the model of such a file takes")


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """The flags of a run over many photos."""
    parser.add_argument("--batch", type=int, default=64, help="photos per step and process (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes per process (default %(default)s)")
    parser.add_argument("--out", type=Path, help="write a JSON line per photo into this file, as the run goes")
    parser.add_argument("--resume", action="store_true", help="go on with the file of --out, where there is one")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """What runs the model."""
    parser.add_argument(
        "--engine",
        default=EAGER,
        help=f"{', '.join(ENGINES)} (default %(default)s); all but eager need --keep where a model has token selectors",
    )


def add_loop(parser: argparse.ArgumentParser, *, usual: dict, tuning: dict | None = None) -> None:
    """Flags that all training commands share.

    Args:
        parser: Of the command.
        usual: Its defaults, over `USUAL`; the rate is `lr_per_512`, per 512 photos of a batch, as papers give it.
        tuning: Other defaults, for weights that were trained before; the command fills in which it is.
    """
    usual = USUAL | usual

    def default(name: str) -> str:
        other = f"; {tuning[name]:g} from trained weights" if tuning is not None and tuning[name] != usual[name] else ""
        return f"{usual[name]:g}{other}"

    def add(flag: str, kind: type, help: str = "") -> None:
        name = flag[2:].replace("-", "_")
        text = f"{help} (default: {default(name)})".strip()
        parser.add_argument(flag, type=kind, default=usual[name] if tuning is None else None, help=text)

    add_data(parser, "ImageFolder root with train/ and val/")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run: weights, metrics, state, log")
    parser.add_argument("--resume", action="store_true", help="go on from the run's newest state")
    add("--epochs", int)
    add("--batch", int, "photos per step over all devices")
    parser.add_argument(
        "--lr", type=float, help=f"at the given batch size (default: {default('lr_per_512')}, times batch / 512)"
    )
    parser.set_defaults(lr_per_512=usual["lr_per_512"] if tuning is None else None)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    add("--warmup-epochs", float)
    add("--mixup", float)
    add("--cutmix", float)
    parser.add_argument("--teacher", help="learn from this model too: a name, a file, any classifier of timm")
    parser.add_argument(
        "--distill",
        choices=DISTILL_KINDS,
        help="what to learn from the teacher: its shares, or its first choice (hard)",
    )
    parser.add_argument(
        "--distill-share", type=float, default=0.5, help="of the loss, the labels have the rest (default %(default)s)"
    )
    parser.add_argument(
        "--shrink-to",
        type=int,
        metavar="PIXELS",
        help="shrink training photos to this short side first; for data of which some classes are sharper than others",
    )
    parser.add_argument("--limit-per-class", type=int, metavar="N", help="train on at most N photos of each class")
    parser.add_argument(
        "--val-per-class", type=int, metavar="N", help="judge epochs on at most N photos of each class (default: all)"
    )
    parser.add_argument(
        "--save-minutes", type=float, default=5.0, help="save the state this often (default %(default)s)"
    )
    parser.add_argument("--auto-augment", help="timm's notation, such as rand-m9-mstd0.5-inc1")
    parser.add_argument("--workers", type=int, default=2, help="processes that read photos (default %(default)s)")
    parser.add_argument("--precision", choices=("auto", "bf16", "no"), default="auto")


def add_targets(parser: argparse.ArgumentParser, default: str | None, told: str = "%(default)s") -> None:
    """Add the flags that say what to train for; `told`: how the help names the default."""
    parser.add_argument(
        "--selectors",
        "--blocks",
        help="blocks before which they stand, from 0 (default 3,6,9; in a single-path model spread behind its last 3x3 "
        "convolution)",
    )
    parser.add_argument(
        "--targets",
        default=default,
        help="share of the patches alive after each selector, or MACs for the photo (2.6G, 60%%), or milliseconds "
        f"(12ms: chooses the selectors' places too) (default {told})",
    )
    parser.add_argument("--table", type=Path, help="latency table for a target in ms (default: measured here)")
