"""A trace as a document that JSON can hold, for other programs. Blocks, rows and patches count from 0."""

from dataclasses import asdict

import numpy as np

from core.config import ModelSpec, plain
from core.results import TokenTrace

KEYS = {
    "model": "name and settings that ran: budget, keep (shares of all patches left after each selector), threshold",
    "grid": "patch rows and columns; all lists per patch go row by row",
    "selector_blocks": "for each selector the block that it stands before, from 0",
    "kept": "per selector and patch: still a token of its own after it",
    "keep_prob": "per selector and patch: keep probability in [0, 1], null where the patch had left before",
    "package_weight": "per selector and patch: weight in the package folded there, 0 elsewhere",
    "per_head": "per selector, patch and head: keep probability of that head, null where the patch had left before",
    "importance": "per selector, patch and head: weight of that head's opinion in (0, 1), null likewise",
    "tokens": "tokens in each block: prefix, patches, packages",
    "macs": "multiply-adds of this photo by part of the model",
    "macs_total": "their sum",
    "dense_macs": "multiply-adds of the model without pruning",
    "top5": "label, wnid and probability of the five likeliest classes",
}
"""What each key of the document means."""
POOLED_KEYS = {
    "selector_grids": "for each selector the rows and columns of its own grid, on which its lists per patch lie",
    "one_package": "one package, into which each selector folds; weights miss 1 by that of the package before",
}
"""What keys a document has besides where the grid changes from block to block."""


def trace_document(spec: ModelSpec, trace: TokenTrace) -> dict:
    """All that a trace knows, under the keys of `KEYS`; probabilities with six digits."""
    settings = plain(spec)
    more = {"selector_grids": [list(grid) for grid in trace.grids], "one_package": True} if trace.grids else {}
    cells = [slice(trace.patches_at(stage + 1)) for stage in range(len(trace.blocks))]
    return {
        "model": {key: settings[key] for key in ("name", "budget", "keep", "threshold")},
        "grid": list(trace.grid),
        "selector_blocks": list(trace.blocks),
        "kept": [row[there].tolist() for row, there in zip(trace.kept, cells, strict=True)],
        **{
            key: [_numbers(row[there]) for row, there in zip(getattr(trace, key), cells, strict=True)]
            for key in ("keep_prob", "package_weight")
        },
        **{
            key: [
                _numbers(row[there][:, : trace.heads_at(stage + 1)])
                for stage, (row, there) in enumerate(zip(getattr(trace, key), cells, strict=True))
            ]
            for key in ("per_head", "importance")
        },
        "tokens": list(trace.tokens),
        "macs": asdict(trace.macs),
        "macs_total": trace.macs.total,
        "dense_macs": trace.dense_macs,
        "top5": [{"label": g.label, "wnid": g.wnid, "prob": round(g.prob, 6)} for g in trace.prediction.top()],
        **more,
    }


def _numbers(values: np.ndarray) -> list:
    """Nested lists; None in place of NaN, which JSON does not have."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
