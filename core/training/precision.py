"""The precision of a training step: accelerate's autocast, and attention where that is slow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Float32Attention(TorchFunctionMode):
    """Within it, scaled dot-product attention computes in float32 and gives back its input's type."""

    def __torch_function__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None) -> object:
        """PyTorch's hook: called for every torch function while the mode is on."""
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention or not isinstance(args[0], Tensor):
            return func(*args, **kwargs)
        kind, device = args[0].dtype, args[0].device.type
        with torch.autocast(device, enabled=False):
            return func(*map(_wide, args), **{name: _wide(value) for name, value in kwargs.items()}).to(kind)


def _wide(value: object) -> object:
    """Floating tensors in float32, all else as it is."""
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


@contextmanager
def mixed_precision(accelerator: Accelerator) -> Iterator[None]:
    """The accelerator's autocast for a forward pass; on a CPU in bf16 with attention in float32.

    torch 2.15's backward pass of attention in bf16 on a CPU takes six times as long as in float32, half of a whole
    training step of a small ViT.
    """
    slow = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    with accelerator.autocast():
        if not slow:
            yield
            return
        with Float32Attention():
            yield
