"""Time of a forward pass on this machine: warm-up, interleaved repeats, median and quartiles."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from core.timings import ENGINES, Latency


@torch.inference_mode()
def measure_latency(
    models: Sequence[Callable[[Tensor], object]],
    images: Tensor,
    *,
    repeats: int = 20,
    warmup: int = 3,
    engine: str | Sequence[str] = "eager",
) -> tuple[Latency, ...]:
    """Time each model on the same images, taking turns, so that a slow moment of the machine hits all alike.

    Args:
        models: Modules in evaluation mode, or other work on `images`, on their device.
        images: (B, 3, H, W), normalised.
        repeats: Timed passes of each model; at least 4, so that quartiles mean something.
        warmup: Passes of each model that are not timed.
        engine: What runs them, one for all or one for each, of `core.timings.ENGINES`.

    Returns:
        One finding per model.
    """
    if repeats < 4:
        raise ValueError(f"{repeats} repeats give no quartiles; 4 is the least")
    engines = [engine] * len(models) if isinstance(engine, str) else engine
    times = interleaved([partial(model, images) for model in models], repeats, images.device, warmup)
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


@torch.inference_mode()
def interleaved(
    works: Sequence[Callable[[], object]],
    repeats: int,
    device: torch.device,
    warmup: int = 3,
    between: Callable[[], object] | None = None,
) -> np.ndarray:
    """Milliseconds of each piece of work, taking turns, (repeats, works).

    Args:
        works: Called without arguments, under inference mode.
        repeats: Timed calls of each.
        device: Where they run; `torch.utils.benchmark.Timer` does the timing and waits for a GPU to finish.
        warmup: Calls of each that are not timed.
        between: Called before each timed call and each warm-up, untimed: whoever measures in the background lets others
            pass here.
    """
    hush_cuda_search()
    from torch.utils.benchmark import Measurement, Timer

    threads = torch.get_num_threads()
    timers = [
        Timer("with torch.inference_mode(): work()", globals={"work": work, "torch": torch}, num_threads=threads)
        for work in works
    ]

    def called(timer: Timer, times: int) -> Measurement:
        if between is not None:
            between()
        return timer.timeit(times)

    for timer in timers:
        called(timer, warmup)
    return np.array([[called(timer, 1).mean * 1e3 for timer in timers] for _ in range(repeats)])  # (repeats, works)


def hush_cuda_search() -> None:
    """What first times or compiles looks for a CUDA compiler, and complains where there is one but no GPU."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu" and the like."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
