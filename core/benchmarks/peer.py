"""Code of others beside ours: whatever patches a timm model, timed in the same interleaved run at the same MACs.

Nothing of it is imported unless a person names its file. The contract: a function that takes a timm VisionTransformer
in evaluation mode, and settings by their names, and patches the model in place or returns another one, images
(B, 3, H, W) to logits.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from core.costs.geometry import Geometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.latency.measure import device_name, interleaved
from core.latency.random_models import dense_form, random_pair, varied_top_share
from core.results.timings import PeerRow
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.schedules import FITTED_BLOCKS, fit_keep
from core.training.teachers import counted_macs

Patch = Callable[..., object]
"""A timm model and settings, to None where it was patched in place, or to another model."""


def read_peer(text: str) -> Patch:
    """The function that "PATH:function" names.

    The file is run; what it imports from its own folder is found.

    Raises:
        InputError: If the file is not there or cannot be run, or has no such function.
    """
    place, _, name = text.rpartition(":")
    path = Path(place)
    if not place or not path.is_file():
        raise InputError(f"--peer takes PATH:function, such as ../ToMe/mine.py:patch; {text} names no file.")
    spec = spec_from_file_location(f"peer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; --peer takes PATH:function.")
    module = module_from_spec(spec)
    try:
        with _found_beside(path):
            spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody else's file does
        raise InputError(f"{path} cannot be run ({_reason(error)}); install what it needs.") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"{path} has no function {name}.")
    return found


def patched(patch: Patch, settings: Mapping[str, object], geometry: Geometry, device: torch.device) -> nn.Module:
    """A dense model of this shape with random weights, as the peer patches it.

    Raises:
        InputError: If the peer fails, or returns something else.
    """
    model = dense_form(geometry, device)
    try:
        made = patch(model, **settings)
    except Exception as error:
        raise InputError(f"The peer cannot patch this model ({_reason(error)}).") from error
    made = model if made is None else made
    if not isinstance(made, nn.Module):
        raise InputError(f"The peer returns a {type(made).__name__}; it must return a model, or nothing.")
    return made.eval()


def compare_peer(
    peer: str, settings: Mapping[str, object], geometry: Geometry, *, batch: int, repeats: int, device: torch.device
) -> PeerRow:
    """Dense, the peer and ours in turns, in eager torch and float32, with random weights.

    Ours cost what torch's counter finds that the peer costs on one image: selectors, and class attention in their
    place, before blocks `FITTED_BLOCKS`, each photo of a batch with a number of patches of its own.

    Args:
        peer: "PATH:function".
        settings: Given to it by name.
        geometry: Of the dense model.
        batch: Images per pass.
        repeats: Timed passes of each.
        device: Where.

    Raises:
        InputError: If the peer cannot be read, patch or run the model, or ours cannot cost as much.
    """
    model = patched(read_peer(peer), settings, geometry, device)
    dense = dense_form(geometry, device)
    images = torch.randn(batch, 3, geometry.img_size, geometry.img_size, device=device)
    try:
        with torch.inference_mode():
            model(images)
        macs = counted_macs(model.cpu(), geometry.img_size)
    except Exception as error:
        raise InputError(f"The peer's model does not run ({_reason(error)}).") from error
    model.to(device)
    keep = fit_keep(geometry, FITTED_BLOCKS, macs)
    decide = varied_top_share(keep, geometry.patches, batch)
    works: dict[str, Callable[[], object]] = {"dense": partial(dense, images), "peer": partial(model, images)}
    for name in ("selectors", "ranked"):
        own = random_pair(geometry, FITTED_BLOCKS, device, ranked=name == "ranked")
        works[name] = partial(_run, own, images, decide)
    times = interleaved(list(works.values()), repeats, device)  # (repeats, 4)
    return PeerRow(
        peer=peer,
        settings=dict(settings),
        batch=batch,
        device=device_name(device),
        threads=torch.get_num_threads(),
        macs=macs,
        mac_ratio=count_macs(geometry).total / macs,
        keep=keep,
        ms=dict(zip(works, np.median(times, axis=0).tolist(), strict=True)),
        speedup=dict(zip(works, np.median(times[:, :1] / times, axis=0).tolist(), strict=True)),
    )


def _run(model: SoftTokenViT, images: Tensor, decide: Callable) -> object:
    return model.run(images, decide, record=False)


@contextmanager
def _found_beside(path: Path) -> Iterator[None]:
    """For `with`: what lies in the file's folder can be imported."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _reason(error: Exception) -> str:
    """First line of what it says, without its full stop."""
    return next(iter(str(error).strip().splitlines()), "")[:120].rstrip(".") or type(error).__name__
