"""The commands by name. Light: what `python -m core --help` says is here, without an import that takes long."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command; `add_NAME` of `core.commands.parsers` adds its flags."""

    module: str
    """Of `core.commands`; its `run_NAME` does the work and returns what to print."""
    help: str
    """One line."""


COMMANDS = {
    "models": Command("inspect", "what can be loaded, from where, whether it is there"),
    "predict": Command("inspect", "top-5, MACs, kept patches and latency for photos"),
    "describe": Command("inspect", "mixer and FFN width per block, MACs, parameters"),
    "evaluate": Command("inspect", "top-1, top-5, mean MACs and images per second on a folder"),
    "report": Command("report", "calibration, accuracy per class, mistakes, patches on the object"),
    "calibrate": Command("calibrate", "from which answers on a model probably knows nothing of what a photo shows"),
    "fetch": Command("fetch", "download a model's weights once, for working without a network"),
    "train": Command("train", "train a dense ViT on an ImageFolder"),
    "score": Command("score", "put gates into a dense model and score them on photos; no training"),
    "untrained": Command("untrained", "accuracy against MACs of a dense model, pruned in every way without training"),
    "search": Command("search", "put gates into a dense model and learn which to close"),
    "finetune": Command(
        "finetune", "train on: a model with token selectors in it, or a searched model for one budget or for any"
    ),
    "export": Command("export", "write a model for use elsewhere: compact, as ONNX, or as .pt2"),
    "bench": Command("bench", "measure speed on this machine, dense and pruned in turns"),
    "schedule": Command(
        "targets", "choose selectors and keep ratios for a target; without --model, list known schedules"
    ),
}
