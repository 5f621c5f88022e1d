"""`calibrate`: from which answers on a model probably knows nothing of what a photo shows, written into its file."""

import argparse
from dataclasses import replace

from core.commands.endings import printed_anyway
from core.commands.loading import load_model_of, tell_skipped
from core.commands.report import answers_on, labelled_photos
from core.commands.requests import CalibrateRequest, read
from core.errors import InputError
from core.files import check_target
from core.inference.confidence import KNOWN_FLAGGED, information_shares, least_share_of
from core.models.load import read_model
from core.models.weights import save_checkpoint
from core.photos.class_folders import split_roots
from core.photos.listing import list_photos


def run_calibrate(flags: argparse.Namespace) -> tuple[dict, str]:
    """Draw the line where one known photo in ten falls below it, and say how many unknown ones do.

    JSON: `{"model", "weights", "images", "least_share", "known_flagged", "unknown_images", "unknown_flagged"}`, shares
    in [0, 1]; the last two are null without --unknown.
    """
    args = read(CalibrateRequest, flags)
    if args.batch < 1 or args.workers < 0 or (args.limit_per_class is not None and args.limit_per_class < 1):
        raise InputError("--batch and --limit-per-class take 1 or more, --workers 0 or more.")
    if args.out.suffix != ".safetensors" or args.out.exists():
        raise InputError(f"--out takes a new file that ends in .safetensors; not {args.out}.")
    check_target(args.out, "--out")
    loaded = load_model_of(args)
    listing, skipped = labelled_photos(loaded, split_roots(args.data, "val"), args.limit_per_class)
    tell_skipped(skipped)
    known, _ = answers_on(args, loaded, listing)
    least = least_share_of(known.probabilities)
    result: dict = {
        "model": args.model,
        "weights": str(args.out),
        "images": len(known.labels),
        "least_share": least,
        "known_flagged": float((information_shares(known.probabilities) < least).mean()),
        "unknown_images": None,
        "unknown_flagged": None,
    }
    lines = [
        f"{args.model}: an answer that says less than {least:.1%} of what it could say counts as none; so do "
        f"{result['known_flagged']:.1%} of {len(known.labels)} photos of its own classes ({KNOWN_FLAGGED:.0%} asked)."
    ]
    if args.unknown is not None:
        others, skipped = list_photos(args.unknown)
        tell_skipped(skipped)
        strange, _ = answers_on(args, loaded, others)
        flagged = float((information_shares(strange.probabilities) < least).mean())
        result |= {"unknown_images": len(strange.labels), "unknown_flagged": flagged}
        lines.append(f"Of {len(strange.labels)} photos of other things {flagged:.1%} are recognised as unknown.")
    text = "\n".join([*lines, f"Written to {args.out}."])
    module, card = read_model(args.model)
    with printed_anyway(result, text):
        save_checkpoint(args.out, module, replace(card, least_share=least))
    return result, text
