"""What each command takes: its flags, their defaults, their help. Light, so that help and wrong flags cost no imports.

`add_NAME` adds the flags of the command NAME of `core.commands.table`.
"""

import argparse
from pathlib import Path

from core.commands.flags import (
    USUAL,
    add_common,
    add_data,
    add_engine,
    add_hints,
    add_loop,
    add_model,
    add_ranking,
    add_sweep,
    add_targets,
)
from core.config import GRAPHS, LEAST_PHOTOS, OURS, PEERS, RANKINGS, USUAL_PHOTOS
from core.results.timings import EAGER, ENGINES

FROM_SCRATCH = {"epochs": 24, "lr_per_512": 4.8e-3, "mixup": 0.2, "cutmix": 1.0, "layer_decay": 1.0, "average": 0.0}
FINE_TUNING = USUAL | {
    "epochs": 5,
    "batch": 64,
    "lr_per_512": 1.6e-3,
    "warmup_epochs": 0.1,
    "layer_decay": 0.75,
    "average": 0.998,
}
"""What a pretrained ViT usually takes; the rates of training from scratch destroy what it knows."""
REPORT_DRAWS = 5
"""Draws of random dropping that `report` takes the mean of."""
BENCH_BATCHES = "1,16"
"""Photos per pass that `bench` measures, usually."""


def add_models(parser: argparse.ArgumentParser) -> None:
    """Flags of `models`."""
    add_common(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--taken", action="store_true", help="which kinds of backbones are taken, and by which method")
    which.add_argument(
        "--timm",
        action="store_true",
        help="every architecture of the installed timm: whether it is taken, and why not; builds each, about a minute",
    )


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Flags of `predict`."""
    add_common(parser)
    parser.add_argument("photos", nargs="+", type=Path, help="photos, or folders of photos, also nested ones")
    parser.add_argument(
        "--crop",
        metavar="X,Y,SIZE",
        help="of one photo, the square that the model sees: its left and top edge as shares of the upright photo's "
        "width and height, its side as a share of the shorter side (default: the model's own, in the middle)",
    )
    add_model(parser)
    add_sweep(parser)
    add_engine(parser)


def add_describe(parser: argparse.ArgumentParser) -> None:
    """Flags of `describe`."""
    add_common(parser)
    add_model(parser)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Flags of `evaluate`."""
    add_common(parser)
    add_model(parser)
    add_data(parser, "ImageFolder root; its val folder if it has one")
    add_sweep(parser)
    parser.add_argument(
        "--method",
        choices=("own", "random", "attention", *PEERS),
        default="own",
        help="of models with selectors: keep as many patches as they do in each photo, but chosen so (default own); "
        "tome, evit, random-dense: that method on the untouched dense weights, at the same mean MACs",
    )
    parser.add_argument("--dense", help="the dense model for tome, evit and random-dense (default: the model's own)")
    parser.add_argument("--record", type=Path, help="also keep the result in this file, as the app reads it")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Flags of `report`."""
    add_common(parser)
    add_model(parser)
    add_data(parser, "ImageFolder root; its val folder if it has one")
    parser.add_argument("--against", metavar="MODEL", help="also the difference to this model on the same photos")
    parser.add_argument(
        "--against-random",
        metavar="MODEL",
        help=f"also the difference to this model with as many patches dropped at random, mean of {REPORT_DRAWS} draws",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        nargs="+",
        action="extend",
        metavar="CSV",
        help="table with a line per photo: file (its path under --data), xmin, ymin, xmax, ymax of its object in "
        "pixels of the upright photo; of several folders one for all, or one for each in their order",
    )
    parser.add_argument("--batch", type=int, default=64, help="photos per step (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default %(default)s)")
    parser.add_argument("--record", type=Path, help="also keep the result in this JSON file, beside others")


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Flags of `calibrate`."""
    add_common(parser)
    add_model(parser)
    add_data(parser, "ImageFolder root of photos that show the model's classes; its val folder if it has one")
    parser.add_argument(
        "--unknown",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="photos, or folders of photos, that show none of the classes: says how many are recognised as unknown",
    )
    parser.add_argument("--limit-per-class", type=int, metavar="N", help="at most N photos of each class of --data")
    parser.add_argument("--out", type=Path, required=True, help="the model with its rule, a new .safetensors file")
    parser.add_argument("--batch", type=int, default=16, help="photos per step (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read photos (default %(default)s)")


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Flags of `fetch`."""
    add_common(parser)
    parser.add_argument("model", help="a name from `models`")


def add_train(parser: argparse.ArgumentParser) -> None:
    """Flags of `train`."""
    add_common(parser)
    add_loop(parser, usual=FROM_SCRATCH, tuning=FINE_TUNING)
    parser.add_argument(
        "--layer-decay",
        type=float,
        help="the rate of each layer as a share of that of the layer above it (default: 0.75 from trained weights)",
    )
    parser.add_argument(
        "--head-lr", type=float, help="rate of the classifier (default: 5 times --lr from trained weights)"
    )
    parser.add_argument(
        "--average",
        type=float,
        metavar="DECAY",
        help="save and judge an exponential average of the weights; 0: the weights themselves (default: 0.998 from "
        "trained weights)",
    )
    parser.add_argument(
        "--model",
        help="a deit_*, vit_* or swin_* of timm, lvvit_s or lvvit_m; lvvit: one of the size below (default: a small "
        "ViT of it)",
    )
    parser.add_argument("--pretrained", action="store_true", help="start from timm's weights, with a new head")
    parser.add_argument(
        "--as-teacher",
        action="store_true",
        help="train any classifier of timm, such as resnet18, to teach others; it cannot be pruned",
    )
    parser.add_argument(
        "--start-from",
        metavar="MODEL",
        help="go on from this dense model (a name or a file), to --img-size pixels and the classes of --data",
    )
    parser.add_argument(
        "--within-root",
        action="store_true",
        help="with several --data: each photo competes among the classes of its own root alone, so that what tells the "
        "roots apart, such as sharpness, tells no classes apart; --limit-per-class counts each root by itself",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="only give the trained backbone a linear head: its view of each photo is computed once; minutes",
    )
    parser.add_argument("--img-size", type=int, help="pixels (default: those of --model or --start-from, else 64)")
    parser.add_argument(
        "--stem", default="32,64,128", help="channels of the stride-2 convolutions (default %(default)s)"
    )
    parser.add_argument(
        "--patch", type=int, default=8, help="side of a patch of --model lvvit, pixels (default %(default)s)"
    )
    parser.add_argument(
        "--stem-channels", type=int, default=64, help="of the stem of --model lvvit (default %(default)s)"
    )
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--drop-path", type=float, default=0.05)
    parser.add_argument(
        "--patch-drop",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of each photo's patches, leave out in training, drawn at random: cheaper steps (arXiv:2208.07220)",
    )
    parser.add_argument(
        "--classes", type=Path, help="text file with the class folders to use, one a line (default: all)"
    )


def add_score(parser: argparse.ArgumentParser) -> None:
    """Flags of `score`."""
    add_common(parser)
    parser.add_argument("--model", required=True, help="the dense model: a name or a weights file")
    parser.add_argument("--out", type=Path, required=True, help="the scored model, a new .safetensors file")
    parser.add_argument(
        "--gates-only",
        action="store_true",
        help="leave the weights to the dense model's own file, which is laid beside --out",
    )
    _add_photos_to_score(parser)


def add_untrained(parser: argparse.ArgumentParser) -> None:
    """Flags of `untrained`."""
    add_common(parser)
    parser.add_argument("--model", required=True, help="the dense model: a name or a weights file")
    add_data(parser, "ImageFolder root; its val/ where there is one")
    parser.add_argument(
        "--out", type=Path, required=True, help="a .json file; a run that was interrupted goes on where it stopped"
    )
    parser.add_argument("--limit-per-class", type=int, metavar="N", help="judge on at most N photos of each class")
    parser.add_argument("--batch", type=int, default=16, help="photos per step (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read photos (default %(default)s)")
    _add_photos_to_score(parser)


def _add_photos_to_score(parser: argparse.ArgumentParser) -> None:
    """Which photos gates are scored on."""
    parser.add_argument(
        "--photos",
        nargs="+",
        type=Path,
        help=f"photos or folders of photos, at least {LEAST_PHOTOS}; labels are not needed (default: cuts of the "
        "sample pictures)",
    )
    parser.add_argument(
        "--count", type=int, default=USUAL_PHOTOS, help="score on at most so many photos (default %(default)s)"
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """Flags of `search`."""
    from core.families.families import FAMILIES  # seconds, but each family says its own default
    from core.methods import SINGLE_PATH, takes

    add_common(parser)
    add_loop(parser, usual={"epochs": 10, "lr_per_512": 5e-5, "mixup": 0.2, "cutmix": 1.0})
    parser.add_argument("--model", required=True, help="the dense model, or what `score` made of it: a name or a file")
    parser.add_argument("--budget", default="60%", help="GMACs, or a share of dense such as 60%% (default %(default)s)")
    parser.add_argument(
        "--gate-lr", type=float, help="constant, without decay (default: as published, 1e-3; 5e-4 for DeiT-S and Swin)"
    )
    parser.add_argument(
        "--cost-weight",
        type=float,
        help="lambda (default: as published for this DeiT or Swin; for other shapes that of the smallest, scaled)",
    )
    searched = (one for one in FAMILIES.values() if takes(SINGLE_PATH, one.FAMILY))
    by_family = ", ".join(f"{one.SEARCH.alpha:g} for {one.FAMILY}" for one in searched)
    parser.add_argument("--alpha", type=float, help=f"temperature of the head mixing (default: {by_family})")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from-scores",
        action="store_true",
        default=None,
        help="start the gates from scores: those of --model where `score` wrote it, else of a few dozen training "
        "photos (default)",
    )
    start.add_argument(
        "--from-flat",
        dest="from_scores",
        action="store_false",
        default=None,
        help="start all gates alike, as published",
    )


def add_finetune(parser: argparse.ArgumentParser) -> None:
    """Flags of `finetune`."""
    add_common(parser)
    add_loop(parser, usual={"epochs": 30, "lr_per_512": 5e-4})
    parser.add_argument("--model", required=True, help="a dense, searched or compact model: a name or a weights file")
    parser.add_argument(
        "--budget",
        help="for a searched model: derive and train this budget alone, GMACs or a share such as 60%%; with --targets "
        "too, put token selectors into what it derives (a joint model)",
    )
    parser.add_argument(
        "--least", default="30%", help="for a searched model without --budget: the smallest (default %(default)s)"
    )
    parser.add_argument(
        "--any-budget",
        action="store_true",
        default=None,
        help="for a dense model: score gates on a few dozen training photos, unless `score` did, then train for any "
        "budget from --least on; it teaches itself",
    )
    add_targets(parser, None, "0.617,0.369,0.137 for a dense model, else none")
    parser.add_argument(
        "--backbone-lr",
        type=float,
        help="beside selectors (default: a hundredth of --lr); 0: the backbone stays as it is, and the weights file "
        "holds the selectors alone, with a copy of the dense model's file beside it",
    )
    parser.add_argument(
        "--wait-epochs", type=float, default=2.0, help="the backbone stands still that long (default %(default)s)"
    )
    parser.add_argument(
        "--rank-by",
        choices=RANKINGS,
        help="what selectors learn to rank patches by: where the dense model's class token looks in the blocks "
        "to come, how much its answer hangs on a patch, or how much that of --teacher does, a CNN (default: attention)",
    )
    parser.add_argument(
        "--drop-at-random",
        action="store_true",
        help="drop patches at random in training, and teach the selectors no ranking: what selectors must beat",
    )
    parser.add_argument(
        "--no-packages",
        action="store_true",
        help="with --drop-at-random: nothing takes the place of what is dropped, and what is saved is a dense model, "
        "for `evaluate --method random-dense --dense FILE`",
    )


def add_export(parser: argparse.ArgumentParser) -> None:
    """Flags of `export`."""
    add_common(parser)
    parser.add_argument("--model", required=True, help="a name from `models`, or a weights file")
    parser.add_argument("--budget", help="GMACs such as 0.8, or a share of dense such as 60%% (single-path models)")
    parser.add_argument(
        "--keep",
        help=f"for {' and '.join(GRAPHS)} of a model with selectors: share of the patches alive after each, such as "
        "0.7,0.5,0.3, the same for every photo",
    )
    add_ranking(parser)
    add_hints(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=f"a new file that ends in {OURS}, {' or '.join(GRAPHS)} (torch.export), or a folder for one of each",
    )
    parser.add_argument("--half", action="store_true", help=f"store {OURS} in half precision")
    parser.add_argument(
        "--hub-format",
        action="store_true",
        help="write a folder as timm's models lie on the Hugging Face hub (timm's own shapes alone), with a model card",
    )
    parser.add_argument(
        "--photos", nargs="+", type=Path, help="compare the files on these (default: the sample pictures)"
    )
    parser.set_defaults(threshold=None)


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Flags of `bench`."""
    from core.benchmarks.cases import RANKED
    from core.benchmarks.cases import USUAL as SCHEDULES
    from core.benchmarks.record import JSON  # seconds, but these know what is measured
    from core.soft_tokens.schedules import FITTED

    add_common(parser)
    parser.add_argument(
        "--model",
        action="append",
        help=f"a pruned model, a published architecture, or a schedule with random weights: {', '.join(FITTED)}, each "
        f"also with {RANKED} behind it for class attention in place of selectors; may be repeated (default: "
        f"{', '.join(SCHEDULES)})",
    )
    parser.add_argument("--budget", help="for single-path models: GMACs, or a share of dense such as 60%%")
    parser.add_argument("--keep", help="for models with selectors: share alive after each, such as 0.7,0.5,0.3")
    add_ranking(parser)
    parser.add_argument("--batch", help=f"photos per pass (default {BENCH_BATCHES}; of --table {BENCH_BATCHES[0]})")
    parser.add_argument(
        "--engine",
        default=EAGER,
        help=f"{', '.join(ENGINES)}, several with commas, or all; dense runs in the same (default %(default)s)",
    )
    parser.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=JSON,
        help="measure all that the repository keeps a record of, or --model, into this file (default: "
        "assets/benchmarks.json) and a table beside it",
    )
    parser.add_argument("--repeats", type=int, default=20, help="timed passes of each (default %(default)s)")
    parser.add_argument(
        "--table", type=Path, help="measure block latency against token count instead, for --model, and write this CSV"
    )
    parser.add_argument(
        "--ragged",
        action="store_true",
        help="ways to run a block on photos that keep different numbers of tokens instead; takes no --model",
    )
    parser.add_argument(
        "--peer",
        metavar="PATH:FUNCTION",
        help="code of others beside ours at its MACs instead: a function that patches a timm model, given the model "
        "and --peer-settings; its file is run",
    )
    parser.add_argument("--peer-settings", metavar="JSON", help="""of --peer, by name, such as '{"r": 13}'""")
    parser.add_argument("--training", action="store_true", help="training steps instead: dense, and a search")
    parser.add_argument("--precision", choices=("auto", "bf16", "no"), default="auto", help="of --training")


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """Flags of `schedule`."""
    add_common(parser)
    parser.add_argument("--model", help="the dense model: a name or a weights file")
    about = "ImageFolder root, for a target in ms: photos held out of train/ judge the choice"
    add_data(parser, about, required=False)
    add_targets(parser, "60%")
