"""`export`: a model as a file for others, in our format without gates or as a graph, compared before it is kept."""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

import torch

from core.commands.loading import load_model_of
from core.commands.requests import ExportRequest, read
from core.commands.shared import say
from core.config import GRAPHS, OURS
from core.errors import InputError
from core.models.export import TOLERANCE, check_model, check_targets, export_model
from core.models.hub_format import FILES, export_for_hub, push_command
from core.models.load import Loaded
from core.models.registry import ASSETS
from core.photos.image import load_photo, to_tensor


def run_export(flags: argparse.Namespace) -> tuple[dict, str]:
    """Write the files, or none.

    JSON: `{"model", "tolerance", "files": [{"file", "form", "dtype", "bytes", "largest_difference", "photos", "macs",
    "params"}]}`; the fields of a file are those of `core.models.export.Exported`, macs null where they depend on the
    photo.
    """
    args = read(ExportRequest, flags)
    if args.hub_format:
        return _for_hub(args)
    folder, names = _targets(args.out)
    if args.half and names == [args.out.name] and args.out.suffix in GRAPHS:
        raise InputError(f"--half is for {OURS}; omit it, or name an --out that ends so.")
    check_targets(folder, names)  # before the weights are read, which may take long
    loaded, photos = _compared(args)
    check_model(loaded, names, photos)
    say(f"Writing {', '.join(names)}; comparing with {args.model} on {len(photos)} photos …")
    found = export_model(loaded, folder, names, photos, half=args.half)
    files, lines = [], []
    for one in found:
        fields = asdict(one)
        files.append({"file": str(fields.pop("path")), **fields})
        cost = "MACs depend on the photo" if one.macs is None else f"{one.macs / 1e9:.4g} GMACs"
        lines.append(
            f"{one.path}: {one.form}, {one.dtype}, {one.bytes / 1e6:.1f} MB, {cost}, {one.params:,} parameters; "
            f"logits within {one.largest_difference:.2g} of the model's on {one.photos} photos"
        )
    return {"model": args.model, "tolerance": TOLERANCE, "files": files}, "\n".join(lines)


def _compared(args: ExportRequest) -> tuple[Loaded, torch.Tensor]:
    """The model, and the photos (P, 3, H, W) on which files are compared with it."""
    pictures = [load_photo(path) for path in args.photos or sorted((ASSETS / "samples").glob("*.jpg"))]
    loaded = load_model_of(args)
    return loaded, torch.cat([to_tensor(picture, loaded.card) for picture in pictures])


def _for_hub(args: ExportRequest) -> tuple[dict, str]:
    """Write what timm reads from the hub. JSON: `{"model", "folder", "files", "largest_difference", "push"}`."""
    if args.half or args.out.suffix in (OURS, *GRAPHS):
        raise InputError("--hub-format takes a folder as --out, and no --half.")
    loaded, photos = _compared(args)
    difference = export_for_hub(loaded, args.out, photos)
    push = push_command(args.out)
    result = {"model": args.model, "folder": str(args.out), "files": list(FILES), "largest_difference": difference}
    text = (
        f"{args.out}: {', '.join(FILES)}; timm reads them, its logits within {difference:.2g} of the model's on "
        f"{len(photos)} photos. To put it on the hub: {push}"
    )
    return {**result, "push": push}, text


def _targets(out: Path) -> tuple[Path, list[str]]:
    """Folder and names of the files that --out asks for.

    Raises:
        InputError: If it is neither a file of a known kind nor a folder.
    """
    if out.suffix in (OURS, *GRAPHS):
        return out.parent, [out.name]
    if out.suffix and not os.path.isdir(out):
        raise InputError(f"--out takes a file that ends in {OURS}, {' or '.join(GRAPHS)}, or a folder; not {out}.")
    return out, [f"model{suffix}" for suffix in (OURS, *GRAPHS)]
