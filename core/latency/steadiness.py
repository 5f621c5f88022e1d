"""What noise does to measured times: how far passes of the same work swing, and what more work cannot undercut."""

from collections.abc import Sequence

import numpy as np


def swing(times: np.ndarray, spent: Sequence[tuple[float, float]] = ()) -> tuple[float, float]:
    """How far a quarter of the passes came below the median, and a quarter above it, as shares of it.

    Where other work held the processor meanwhile, the time on a quiet machine is lower still: what this thread computed.

    Args:
        times: Of each pass of each piece of work, (repeats, works), in any unit.
        spent: See `core.latency.measure.interleaved`; none: nothing is known of other work.

    Returns:
        (low, high), low <= 1 <= high; (1, 1) where all passes take the same. Pieces of work count by their time.
    """
    first, median, third = np.percentile(times, (25, 50, 75), axis=0).sum(axis=1)
    computed, passed = (sum(each) for each in zip(*spent, strict=True)) if spent else (1.0, 1.0)
    return min(float(first / median), computed / passed), float(third / median)


def rising(values: Sequence[float]) -> list[float]:
    """The sequence next to `values`, in least squares, that never falls: neighbours that fall get their mean.

    For times of more and more of the same work, where only noise makes more of it faster.

    Source: pool adjacent violators, Ayer et al. 1955, doi:10.1214/aoms/1177728423.
    """
    pools: list[list[float]] = []  # sum and count of each
    for value in values:
        pools.append([float(value), 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    return [total / count for total, count in pools for _ in range(int(count))]
