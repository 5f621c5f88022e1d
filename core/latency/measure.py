"""Time of work on this machine: warm-up, repeats in turns, median and quartiles. Whatever is timed is timed here."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.results.timings import ENGINES, Latency

CPU = torch.device("cpu")
QUIET = RLock()
"""Held while something is timed, and while an engine compiles, which would slow it. Take it before any other lock."""
clock = time.perf_counter
"""Seconds, by which all is timed."""
Found = TypeVar("Found")


@torch.inference_mode()
def measure_latency(
    models: Sequence[Callable[[Tensor], object]],
    images: Tensor,
    *,
    repeats: int = 20,
    warmup: int = 3,
    engine: str | Sequence[str] = "eager",
    between: Callable[[], object] | None = None,
) -> tuple[Latency, ...]:
    """Time each model on the same images, taking turns, so that a slow moment of the machine hits all alike.

    Args:
        models: Modules in evaluation mode, or other work on `images`, on their device.
        images: (B, 3, H, W), normalised.
        repeats: Timed passes of each model; at least 4, so that quartiles mean something.
        warmup: Passes of each model that are not timed.
        engine: What runs them, one for all or one for each, of `core.results.timings.ENGINES`.
        between: See `interleaved`.

    Returns:
        One finding per model.
    """
    if repeats < 4:
        raise ValueError(f"{repeats} repeats give no quartiles; 4 is the least")
    engines = [engine] * len(models) if isinstance(engine, str) else engine
    works = [partial(model, images) for model in models]
    times = interleaved(works, repeats, images.device, warmup, between=between)
    first, median, third = np.percentile(times, (25, 50, 75), axis=0)
    return tuple(
        Latency(
            float(median[i]),
            float(third[i] - first[i]),
            device_name(images.device),
            torch.get_num_threads(),
            len(images),
            str(images.dtype).removeprefix("torch."),
            repeats,
            ENGINES[name],
        )
        for i, name in enumerate(engines)
    )


def interleaved(
    works: Sequence[Callable[[], object]],
    repeats: int,
    device: torch.device,
    warmup: int = 3,
    *,
    between: Callable[[], object] | None = None,
    on_round: Callable[[int, int], None] | None = None,
    gradients: bool = False,
    spent: list[tuple[float, float]] | None = None,
) -> np.ndarray:
    """Milliseconds of each piece of work, taking turns, (repeats, works).

    Each is called `warmup` + `repeats` times and not once more, alone in this process as far as `QUIET` is heeded.

    Args:
        works: Called without arguments.
        repeats: Timed calls of each.
        device: Where they run.
        warmup: Calls of each that are not timed, one after the other.
        between: Called before each timed call and each one's warm-up, while nothing is held: whoever measures in the
            background lets others pass here.
        on_round: Called with the timed rounds done and in all.
        gradients: Whether works need them; else they run under inference mode.
        spent: Gets, on a CPU, the seconds that this thread computed and those that passed, of each call.
    """

    def called(work: Callable[[], object], times: int = 1) -> float:
        if between is not None:
            between()
        with QUIET, torch.inference_mode(not gradients), _no_collection():
            computed, passed = time.thread_time(), time.perf_counter()
            took_ms = [timed(work, device)[0] for _ in range(times)][-1]
            if spent is not None and device.type == "cpu":
                spent.append((time.thread_time() - computed, time.perf_counter() - passed))
        return took_ms

    if warmup:
        for work in works:
            called(work, warmup)
    times = []
    for done in range(repeats):  # all take turns, so that a slow moment of the machine hits all alike
        times.append([called(work) for work in works])
        if on_round is not None:
            on_round(done + 1, repeats)
    return np.array(times)  # (repeats, works)


def timed(work: Callable[[], Found], device: torch.device = CPU) -> tuple[float, Found]:
    """Milliseconds of one call of `work`, with what it gives the device to do done, and what it returns."""
    _finish(device)
    began = clock()
    found = work()
    _finish(device)
    return 1e3 * (clock() - began), found


def _finish(device: torch.device) -> None:
    """Wait for what a device other than the CPU has still to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage is collected before or after, as Python's own `timeit` has it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu" and the like."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
