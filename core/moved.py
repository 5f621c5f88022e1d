"""Modules under the names that they had before core had rooms, for scripts that were written for those.

Nothing here is loaded twice: an old name is the same module object as the new one, its classes the same classes.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "agreements": "inference.agreements",
    "attribution": "inference.attribution",
    "attributions": "results.attributions",
    "backbones": "families",
    "batches": "photos.batches",
    "bench_record": "benchmarks.record",
    "cards": "models.cards",
    "checkpoints": "models.load",
    "class_lists": "models.class_lists",
    "confidence": "inference.confidence",
    "curve_latency": "latency.curve",
    "deit_counts": "costs.deit",
    "description": "models.description",
    "downloads": "models.downloads",
    "engines": "latency.engines",
    "evaluate": "evaluation.evaluate",
    "export": "models.export",
    "file_kinds": "models.file_kinds",
    "geometry": "costs.geometry",
    "grids": "costs.grids",
    "huge_pages": "latency.huge_pages",
    "images": "photos.image",
    "jpeg_scans": "photos.jpeg_scans",
    "json_text": "files.json_text",
    "latency_limit": "latency.limit",
    "latency_table": "latency.table",
    "lvvit_counts": "costs.lvvit",
    "macs": "costs.macs",
    "method_setups": "evaluation.method_setups",
    "method_table": "results.method_table",
    "params": "costs.params",
    "path_latency": "latency.parts",
    "peers": "baselines",
    "photo_list": "photos.listing",
    "photo_loader": "photos.loader",
    "photo_walk": "photos.walk",
    "photo_zip": "photos.zip",
    "pit_counts": "costs.pit",
    "published": "single_path.published",
    "ragged_bench": "benchmarks.ragged",
    "recorded": "evaluation.recorded",
    "registry": "models.registry",
    "releases": "models.releases",
    "removal": "inference.removal",
    "report": "evaluation.report",
    "reproduce": "inference.reproduce",
    "result_file": "evaluation.result_file",
    "rivals": "inference.rivals",
    "rollout": "inference.rollout",
    "scored": "training.scored",
    "searched": "single_path.searched",
    "speed": "latency.random_models",
    "sweep": "evaluation.sweep",
    "swin_counts": "costs.swin",
    "table_bench": "latency.measure_table",
    "timings": "results.timings",
    "trace": "inference.trace",
    "trace_file": "inference.trace_file",
    "untrained": "evaluation.untrained",
    "weights": "models.weights",
    "which_method": "evaluation.which_method",
}
"""Where each module of `core`, by its old name, lies now."""


class _Moved(MetaPathFinder, Loader):
    """Finds and loads an old name, as `importlib` asks: by giving it the module that there is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        first, dot, below = name.removeprefix(f"{__package__}.").partition(".")
        if not name.startswith(f"{__package__}.") or first not in MOVED:
            return None
        return ModuleSpec(name, self, loader_state=f"{__package__}.{MOVED[first]}{dot}{below}")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module is ready; its own description, which importlib overwrites with the old name's, comes back."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state


def answer_to_old_names() -> None:
    """Make `import core.images` and the like find the modules of `MOVED`. Harmless when called again."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())  # first: below an alias of a package, others would load its files again
