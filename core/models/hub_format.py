"""A model as timm reads it from the hub: config.json, model.safetensors, and a card filled from what is known of it.

timm's own code writes the files and reads them back, and both models must answer alike before anything is kept.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import Tensor, nn

from core.errors import InputError
from core.families import deit
from core.families.families import family
from core.files.json_text import json_text
from core.models.cards import ModelCard
from core.models.export import TOLERANCE, check_model, exported_card, nearest
from core.models.load import Loaded
from core.models.macs import macs_of
from core.version import __version__

FILES = ("config.json", "model.safetensors", "README.md")
ATTENTION = "msa"
BY_NUMBERS: dict[str, Callable[[Any], nn.Module | None]] = {deit.FAMILY: deit.timm_twin}
"""Families whose models timm builds from numbers alone, without a name of its own for them."""


def push_command(folder: Path) -> str:
    """What its owner runs to put the folder on the hub."""
    return f"hf upload USER/NAME {folder}"


@torch.no_grad()
def export_for_hub(loaded: Loaded, folder: Path, photos: Tensor) -> float:
    """Write the three files into `folder`, all or none.

    Args:
        loaded: A dense model, or a compact one whose blocks are all alike; stays as it is.
        folder: Made if it is not there.
        photos: Normalised, (P, 3, H, W); timm's model is compared with ours on them.

    Returns:
        The largest absolute difference of a logit.

    Raises:
        InputError: If timm has no such model, a file is there already or cannot be written, or timm's answers differ.
    """
    for path in (folder / name for name in FILES):
        if os.path.lexists(path):
            raise InputError(f"{path} is already there; name another --out.")
    check_model(loaded, ["model.safetensors"], photos)
    made, card = twin(loaded), loaded.card
    normalisation = card.normalisation
    names = [one.wnid or one.label for one in card.classes]
    told: dict[str, Any] = {"label_names": names} if len(set(names)) == len(names) else {}
    if told and any(one.wnid for one in card.classes):
        told["label_descriptions"] = {one.wnid or one.label: one.label for one in card.classes}
    data = {
        "input_size": (3, card.geometry.img_size, card.geometry.img_size),
        "mean": normalisation.mean,
        "std": normalisation.std,
        "crop_pct": normalisation.crop_pct,
        "interpolation": normalisation.interpolation,
    }
    try:
        with TemporaryDirectory(prefix=".export-", dir=nearest(folder)) as temporary:
            stage = Path(temporary)
            save_for_hf(made, str(stage), model_config=told, data_config=data, safe_serialization=True)
            (stage / "README.md").write_text(model_card(loaded, folder), encoding="utf-8")
            read = timm.create_model(f"local-dir:{stage}", pretrained=True).eval()
            ours, theirs = loaded.model(photos), read(photos)  # (P, C)
            difference = float((ours - theirs).abs().max())
            if not torch.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
                raise InputError(f"Nothing was kept: timm's logits differ from the model's by up to {difference:.2g}.")
            folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                os.replace(stage / name, folder / name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} cannot be written to ({reason}); name another --out.") from error
    return difference


def twin(loaded: Loaded) -> nn.Module:
    """timm's own model of the same shapes, with the same weights, in evaluation mode.

    Raises:
        InputError: If timm has none.
    """
    card = exported_card(loaded)
    other = f"export it as .safetensors or .onnx, which {loaded.spec.name} fits."
    if card.selectors is not None:
        raise InputError(f"timm has no token selectors; {other}")
    if card.compact is not None and (set(card.compact.mixers) != {ATTENTION} or len(set(card.compact.ffn_hidden)) > 1):
        raise InputError(f"timm has no ViT whose blocks differ in mixer or FFN width; {other}")
    geometry = card.geometry
    by_numbers = BY_NUMBERS.get(card.family, _none)
    if card.compact is not None and card.family in BY_NUMBERS:
        geometry = replace(geometry, ffn_hidden=card.compact.ffn_hidden[0], timm=None)
    made = _by_name(card, geometry) if getattr(geometry, "timm", None) else by_numbers(geometry)
    state = loaded.model.state_dict()
    if made is None or {k: v.shape for k, v in made.state_dict().items()} != {k: v.shape for k, v in state.items()}:
        raise InputError(f"timm has no model of these shapes; {other}")
    made.load_state_dict(state)
    return made.eval()


def _none(geometry: Any) -> None:
    """timm has names alone for models of this family."""


def _by_name(card: ModelCard, geometry: Any) -> nn.Module:
    """The model that timm has under the geometry's own name."""
    return family(card.family).from_timm(geometry.timm, classes=geometry.classes, img_size=geometry.img_size)


def model_card(loaded: Loaded, folder: Path) -> str:
    """README.md for the hub: what the record of the model says, how to load it, how to put it there."""
    card, size = loaded.card, loaded.card.geometry.img_size
    trained = card.training or {"said": "nothing: the file that it was read from does not say how it was trained"}
    return f"""---
library_name: timm
pipeline_tag: image-classification
tags: [image-classification, timm, prunescope]
---

# {Path(loaded.spec.name).stem}

A Vision Transformer of {card.geometry.classes:,} classes for photos of {size} x {size} pixels: \
{macs_of(loaded).total / 1e9:.4g} GMACs, {sum(one.numel() for one in loaded.model.parameters()):,} parameters. \
Written by Prunescope {__version__}.

```python
import timm

model = timm.create_model("hf-hub:USER/NAME", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

## How it was trained, as its file says

```json
{json_text(trained, indent=1)}
```

## To put it on the hub

`{push_command(folder)}`, after `hf auth login`; then write here which photos it learned from, and its licence.
"""
