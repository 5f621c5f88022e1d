"""`score`: gates put into a dense model and scored on a few dozen photos, without training and without labels."""

import argparse
from dataclasses import replace
from pathlib import Path

from core.commands.endings import printed_anyway
from core.commands.loading import tell_skipped
from core.commands.requests import ScoreRequest, ScoringRequest, read
from core.commands.session import dense_model
from core.commands.shared import Progress, pick_device, say
from core.config import LEAST_PHOTOS
from core.errors import InputError
from core.files import check_target
from core.methods import SINGLE_PATH, check_takes
from core.models.load import Loaded, file_of
from core.models.weights import holds_card, lay_beside, save_checkpoint
from core.photos.image import load_photo
from core.photos.listing import list_photos
from core.single_path.derive import derive, gates_of
from core.training.data import spread
from core.training.scored import make_scored

SHOWN = (0.9, 0.75, 0.6, 0.5)
"""Shares of the dense MACs whose architectures are reported."""


def run_score(flags: argparse.Namespace) -> tuple[dict, str]:
    """Score a dense model's gates and write the scored model.

    JSON: `{"model", "weights", "photos", "cuts", "mixer_nats": [[skip, conv1x1, conv3x3, msa] per block],
    "architectures": [{"share", "macs", "mixers", "ffn_hidden"}]}`.
    """
    args = read(ScoreRequest, flags)
    if args.count < LEAST_PHOTOS:
        raise InputError(f"--count takes {LEAST_PHOTOS} or more; not {args.count}.")
    if args.out.suffix != ".safetensors" or args.out.exists():
        raise InputError(f"--out takes a new file that ends in .safetensors; not {args.out}.")
    check_target(args.out, "--out")
    dense = dense_model(args.model)
    check_takes(SINGLE_PATH, dense.card.family)
    backbone = _own_file(dense) if args.gates_only else None
    paths = photos_to_score(args)
    pictures = None if paths is None else [load_photo(path) for path in paths]
    say(f"Scoring {args.model} on {'cuts of the sample pictures' if paths is None else f'{len(paths)} photos'} …")
    line = Progress()
    made = make_scored(
        dense,
        pictures,
        device=pick_device(args.device),
        seed=args.seed,
        on_share=lambda share, doing: line.show(f"{share:.0%}, {doing}"),
    )
    line.clear()
    model, geometry, told = made.model, dense.card.geometry, made.card.training
    gates, architectures, lines = gates_of(model, geometry), [], []
    for share in SHOWN:
        chosen = derive(gates, share * dense.dense_macs)
        architectures.append(
            {"share": share, "macs": chosen.macs, "mixers": chosen.mixers, "ffn_hidden": chosen.ffn_hidden}
        )
        kinds = " ".join(f"{mixer}/{units}" for mixer, units in zip(chosen.mixers, chosen.ffn_hidden, strict=True))
        lines.append(f"{share:.0%} of the MACs: {kinds}")
    result = {"model": args.model, "weights": str(args.out), "photos": told["photos"], "cuts": told["cuts"]}
    result |= {"mixer_nats": made.scores.mixers.tolist(), "architectures": architectures}
    lines.append(f"Scored, not trained: {args.out}; try it with --budget 75%, or train it on with `finetune`.")
    text = "\n".join(lines)
    with printed_anyway(result, text):
        kept = None if backbone is None else lay_beside(backbone, args.out)
        save_checkpoint(args.out, model, replace(made.card, backbone=kept), half=False)
    return result, text


def _own_file(dense: Loaded) -> Path:
    """The dense model's file.

    Raises:
        InputError: If it is none of our own, which holds the weights as they run.
    """
    path = file_of(dense.spec.name)
    if path is None or not holds_card(path):
        raise InputError(
            f"{dense.spec.name} has no file of Prunescope's; `export --model {dense.spec.name} --out FILE.safetensors` "
            "writes one. Score that, or omit --gates-only."
        )
    return path


def photos_to_score(args: ScoringRequest) -> list[Path] | None:
    """The photos to score on: at most --count of those given, at even distances; None: the samples.

    Raises:
        InputError: If there are too few.
    """
    if args.photos is None:
        return None
    listing, skipped = list_photos(args.photos)
    tell_skipped(skipped)
    if len(listing) < LEAST_PHOTOS:
        raise InputError(
            f"{len(listing)} photos are too few to score gates on; give at least {LEAST_PHOTOS} different ones."
        )
    return [Path(listing.path(index)) for index in spread(range(len(listing)), args.count)]
