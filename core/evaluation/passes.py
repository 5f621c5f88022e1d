"""One pass of a model over a batch of photos, timed and checked: what all that runs over many photos is built on."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import InputError
from core.latency import measure as latency
from core.models.runners import Answers, prepared


class Passed(NamedTuple):
    """What one pass gave."""

    logits: Tensor
    """(B, C), float64, on the CPU."""
    macs: Tensor
    """Multiply-adds per photo, (B,), on the CPU."""
    kept: Tensor | None
    """What the runner says was kept, on the CPU: patches behind each selector, (B, S), say; None: nothing is chosen."""
    preparing_ms: float
    """Of what a `core.models.runners.Baseline` prepares; next to nothing of other runners."""
    pass_ms: float


@torch.inference_mode()
def one_pass(run: Callable[..., Answers], images: Tensor, *told: object) -> Passed:
    """Run once.

    Args:
        run: A runner; see `core.models.runners.Runner`.
        images: (B, 3, H, W), on the model's device.
        told: What else the runner is given, such as the photos' paths.

    Raises:
        InputError: If the answers are no numbers.
    """
    preparing_ms, ready = latency.timed(partial(prepared, run, images, *told), images.device)
    pass_ms, (logits, macs, kept) = latency.timed(ready, images.device)
    logits = logits.cpu().double()  # not every device has double precision
    if not logits.isfinite().all():
        raise InputError("The model gives answers that are no numbers; its weights are damaged.")
    return Passed(logits, macs.cpu(), None if kept is None else kept.cpu(), preparing_ms, pass_ms)
