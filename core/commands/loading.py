"""What the commands that run models share: loading the model that the flags name, and photos from files."""

from dataclasses import replace

from core.commands.requests import ModelRequest, Settings
from core.commands.shared import Progress, numbers, parse_budget, pick_device, say
from core.config import SETTINGS, ModelSpec
from core.errors import InputError
from core.methods import SINGLE_PATH, check_takes
from core.models.class_lists import read_classes, with_classes
from core.models.load import Loaded, load
from core.models.registry import list_models
from core.photos.walk import Skipped

NAME_THEM = "; --classes takes a text file with what its classes are called, one a line in the order of its answers"
"""What helps where no folder is named after a class of the model."""


def spec_of(args: ModelRequest) -> ModelSpec:
    """The model and settings that a request names."""
    heads = None if args.heads is None else numbers(args.heads, int, "--heads")
    if heads is not None and min(heads) < 1:
        raise InputError(f"--heads takes numbers of 1 or more; not {args.heads}.")
    named = ModelSpec(args.model, heads=heads, arch=args.arch, img_size=args.img_size)
    spec = with_settings(named, args)
    if args.budget is not None:
        loaded = load(named, weights=False)
        check_takes(SINGLE_PATH, loaded.card.family)
        spec = replace(spec, budget=parse_budget(args.budget, loaded.dense_macs))
    return spec


def with_settings(spec: ModelSpec, args: Settings) -> ModelSpec:
    """A spec with the settings that decide which patches stay."""
    spec = replace(spec, threshold=args.threshold, mass=args.mass)
    if args.blocks is not None:
        spec = replace(spec, blocks=numbers(args.blocks, int, "--blocks"))
    return spec if args.keep is None else replace(spec, keep=numbers(args.keep, float, "--keep"))


def settings_given(args: Settings) -> dict[str, object]:
    """By flag, the settings of a model that a request has; as they were typed."""
    values = {setting.flag: getattr(args, setting.key) for setting in SETTINGS}
    return {flag: value for flag, value in values.items() if value is not None}


def setting_of(args: ModelRequest) -> str:
    """The settings as they stand on the command line; empty for the model's own."""
    given = settings_given(args)
    given |= {} if args.method == "own" else {"--method": args.method}
    given |= {} if args.dense is None else {"--dense": args.dense}
    return " ".join(f"{flag} {value}" for flag, value in given.items())


def load_model_of(args: ModelRequest) -> Loaded:
    """The model on its device; weights that are not here are fetched, and the person is told."""
    spec = spec_of(args)
    classes = None if args.classes is None else read_classes(args.classes)
    if any(entry.name == spec.name and entry.download_mb for entry in list_models()):
        say(f"Downloading the weights of {spec.name} …")
    line = Progress()
    loaded = load(
        spec,
        download=True,
        on_bytes=lambda done, total: line.show(f"{done / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total else " MB")),
    )
    line.clear()
    if classes is not None:
        loaded = with_classes(loaded, classes)
    loaded.model.to(pick_device(args.device))
    tell_snapped(loaded)
    if loaded.card.selectors is not None and loaded.card.selectors.ranked:
        where = ", ".join(map(str, loaded.card.selectors.blocks))
        by = "class attention" if loaded.card.geometry.lookers(2) == 1 else "the attention of all tokens"
        say(f"Patches are ranked by {by} before blocks {where}; nothing was trained for it.")
    if not loaded.card.fit_to_predict:
        say(f"{spec.name} is not fit to predict yet: its search has not got far enough.")
    return loaded


def tell_snapped(loaded: Loaded) -> None:
    """Say so where the model runs at a lower budget than was asked for."""
    asked, ran = loaded.spec.budget, None if loaded.architecture is None else loaded.architecture.asked_macs
    if not loaded.kind.gated:
        return  # at most it has one budget, and runs at that
    if asked is not None and ran is not None and ran < min(asked, loaded.dense_macs) * (1 - 1e-6):
        say(f"Runs at the next calibrated budget below, {ran / 1e9:.4g} GMACs.")


def tell_skipped(skipped: Skipped) -> None:
    """Say what lay among the photos and is none."""
    if skipped.files:
        say(skipped.sentence)
