"""A trace as tables: every patch, and every member of a package. Rows and columns of the grid count from 1."""

import numpy as np

from core.results import TokenTrace

STAYED = "kept"


def patch_table(trace: TokenTrace) -> dict[str, list]:
    """All patches, row by row: place, keep probability at each selector, where it left, package and weight there."""
    rows, cols = np.divmod(np.arange(trace.grid[0] * trace.grid[1]), trace.grid[1])
    left = (trace.dropped * np.arange(1, len(trace.blocks) + 1)[:, None]).sum(axis=0)
    weight = trace.package_weight.sum(axis=0)
    scores = {
        f"Score at selector {s + 1}": [None if np.isnan(p) else float(p) for p in trace.keep_prob[s]]
        for s in range(len(trace.blocks))
    }
    return {
        "Row": (rows + 1).tolist(),
        "Column": (cols + 1).tolist(),
        **scores,
        "Left at": [f"selector {s}" if s else STAYED for s in left.tolist()],
        "Package": [int(s) if w > 0 else None for s, w in zip(left, weight, strict=True)],
        "Weight in it, %": [float(w) * 100 if w > 0 else None for w in weight],
    }


def package_table(trace: TokenTrace) -> dict[str, list]:
    """Members of all packages, heaviest first within each."""
    found = [
        (stage + 1, int(patch), float(trace.package_weight[stage, patch]))
        for stage in range(len(trace.blocks))
        for patch in np.argsort(-trace.package_weight[stage], kind="stable")
        if trace.package_weight[stage, patch] > 0
    ]
    return {
        "Package": [package for package, _, _ in found],
        "Row": [patch // trace.grid[1] + 1 for _, patch, _ in found],
        "Column": [patch % trace.grid[1] + 1 for _, patch, _ in found],
        "Weight in it, %": [weight * 100 for _, _, weight in found],
    }
