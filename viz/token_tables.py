"""A trace as tables: every patch, and every member of a package. Rows and columns of the grid count from 1."""

import numpy as np

from core.results import TokenTrace

STAYED = "kept"


def patch_table(trace: TokenTrace, stage: int | None = None) -> dict[str, list]:
    """All patches, row by row: place, keep probability at each selector, where it left, package and weight there.

    Args:
        trace: Of one photo.
        stage: Behind a pooling patches are others: those of the grid of selector `stage`, from 1, and all up
            to it; None: the last one.
    """
    some = trace.same_grid(len(trace.blocks) if stage is None else stage)
    if not some:  # the input of a model whose first selector stands behind a pooling
        some = trace.same_grid(1)
    grid, patches = trace.grid_at(some[-1] + 1), trace.patches_at(some[-1] + 1)
    rows, cols = np.divmod(np.arange(patches), grid[1])
    left, weight = left_and_weight(trace, some)
    scores = {
        f"Score at selector {s + 1}": [None if np.isnan(p) else float(p) for p in trace.keep_prob[s, :patches]]
        for s in some
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
        "Row": [patch // trace.grid_at(package)[1] + 1 for package, patch, _ in found],
        "Column": [patch % trace.grid_at(package)[1] + 1 for package, patch, _ in found],
        "Weight in it, %": [weight * 100 for _, _, weight in found],
    }


def left_and_weight(trace: TokenTrace, some: range) -> tuple[np.ndarray, np.ndarray]:
    """Per patch of one grid the selector at which it left, from 1, 0 where it stayed, and its weight in the package.

    Args:
        trace: Of one photo.
        some: The selectors on that grid, from 0.

    Returns:
        Both (N,).
    """
    patches = trace.patches_at(some[-1] + 1)
    rows = slice(some[0], some[-1] + 1)
    left = (trace.dropped[rows, :patches] * (np.array(some) + 1)[:, None]).sum(axis=0)
    return left, trace.package_weight[rows, :patches].sum(axis=0)
