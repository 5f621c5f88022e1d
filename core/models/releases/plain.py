"""Plain ViT weights in timm's layout, class-token or distilled: what their shapes tell, and what they do not."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from core.config import Normalisation
from core.costs.deit import DeitGeometry
from core.costs.geometry import Geometry
from core.errors import InputError, printable
from core.families import deit
from core.models.cards import ModelCard, class_names
from core.models.file_kinds import shown
from core.models.releases.told import Told, arch_of
from core.models.weights import check_room, load_weights
from core.results import ClassName

NORMALISATION = Normalisation(crop_pct=0.875)
"""Of DeiT's photos."""
HEAD_WIDTH = 64
"""Channels per head of every DeiT."""
HEADS = {
    (192, 12): 3,
    (256, 10): 4,
    (256, 14): 4,
    (320, 14): 5,
    (384, 12): 6,
    (384, 36): 6,
    (512, 12): 8,
    (512, 20): 8,
    (640, 12): 10,
    (768, 8): 8,
    (768, 12): 12,
    (832, 21): 13,
    (896, 12): 14,
    (896, 18): 14,
    (1024, 24): 16,
    (1152, 27): 16,
    (1280, 32): 16,
    (1408, 40): 16,
    (1664, 48): 16,
}
"""Heads of timm's ViTs with a class token by width and depth: all that have both have as many."""
SCALES = (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2"), ("gamma_1", "attn.proj"), ("gamma_2", "mlp.fc2"))
"""Factors per channel behind a layer (LayerScale; timm's names and DeiT III's), and that layer."""
OTHERS = (
    (("embeddings.patch_embeddings",), "the layout of Hugging Face's transformers"),
    (("encoder.layers.encoder_layer_0",), "torchvision's layout"),
    (("transformer.resblocks.",), "the layout of CLIP"),
    (("decoder_blocks.", "mask_token"), "the weights of a masked autoencoder's pretraining"),
    (("layer1.0.conv1.weight", "stages.0.", "features.0."), "the weights of a convolutional network"),
)
"""Parts of names that other layouts have."""
LACKING = (
    ("fc_norm.weight", "answers from the mean of its patches (fc_norm), not from a class token"),
    ("attn_pool.", "answers from an attention pooling, not from a class token"),
    ("relative_position_bias_table", "adds relative positions, as BEiT does"),
    ("attn.q_bias", "has BEiT's attention"),
    ("attn.rel_pos_h", "adds relative positions, as SAM does"),
    ("rope", "turns its queries by their places (rotary positions)"),
    ("mlp.w12", "has gated FFNs (SwiGLU)"),
    ("mlp.fc1_g", "has gated FFNs (SwiGLU)"),
    ("pre_logits.", "has a layer between its class token and its classifier (pre_logits)"),
    ("attn.q_norm.", "normalises its queries and keys"),
    ("decoder_blocks.", "has a masked autoencoder's decoder"),
)
"""Parts of names that models have which cannot be read, and what those do."""
BY_NAME = (
    ("norm_pre.", "has a norm before its first block, as CLIP's ViTs do"),
    ("reg_token", "has register tokens"),
)
"""The same, of what timm's model can have where it is named."""
GUIDE = "give a ViT, DeiT, LV-ViT, Swin or PiT in timm's layout with a classifier"


def read_plain(state: dict[str, Tensor], path: Path, told: Told) -> tuple[nn.Module, ModelCard]:
    """The dense model of a file with plain ViT weights.

    What is folded in, exactly: LayerScale into the layers before it, missing biases as zeros, and positions without
    one for the class token as zero there.

    Raises:
        InputError: If it is no such model, or weights are missing, too many or of other shapes.
    """
    check_layout(state, path)
    named = arch_of(told.arch) if told.arch is not None and told.insists else None
    if named is not None and not named.plain and isinstance(named.geometry, DeitGeometry):
        return _read_named(state, path, named.geometry)
    for part, said in (*LACKING, *BY_NAME):
        if any(part in key for key in state):
            more = "; if timm has this model, name it with --arch" if (part, said) in BY_NAME else ""
            raise InputError(f"{shown(path)} {said}, which is not read from a file{more}; {GUIDE}.")
    before, state = state, folded(state)
    heads, notes = heads_of_flat(state, path, told)
    if before.get("pos_embed") is not state.get("pos_embed"):
        count = before["pos_embed"].shape[1]
        notes += (f"Its {count} positions are those of {round(count**0.5)} rows of patches, none the class token's.",)
    geometry = deit_geometry(state, path, heads=heads)
    check_size_told(geometry, told, path)
    check_room(geometry, state, path)
    model = deit.build(geometry)
    load_weights(model, state, path, "of a ViT as timm builds it")
    return model, ModelCard(deit.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION, notes=notes)


def _read_named(state: dict[str, Tensor], path: Path, named: DeitGeometry) -> tuple[nn.Module, ModelCard]:
    """The same of a model that only timm's name describes whole."""
    count = state["pos_embed"].shape[1] if "pos_embed" in state else 0
    side = next((int(n**0.5) for n in (count, count - named.prefix_tokens) if n > 0 and int(n**0.5) ** 2 == n), 0)
    geometry = replace(named, classes=len(state["head.weight"]), img_size=side * named.patch or named.img_size)
    check_room(geometry, state, path)
    model = deit.build(geometry)
    load_weights(model, state, path, f"of a {named.timm}")
    return model, ModelCard(deit.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION)


def check_layout(state: dict[str, Tensor], path: Path) -> None:
    """Refuse weights that are none of a flat ViT with a class token and a classifier.

    Raises:
        InputError: It says what the file holds.
    """
    if "patch_embed.proj.weight" not in state or not any(key.startswith("blocks.") for key in state):
        held = next((what for marks, what in OTHERS if any(mark in key for key in state for mark in marks)), None)
        held = held or f"its first one is {printable(next(iter(state)), 60)}"
        raise InputError(
            f"{shown(path)} holds no DeiT weights in timm's layout, which is what is read from such files ({held}); "
            f"{GUIDE}."
        )
    check_head(state, path)
    if "cls_token" not in state:
        raise InputError(f"{shown(path)} has no class token, and is no vit_*_gap_* of timm; {GUIDE}.")


def check_head(state: dict[str, Tensor], path: Path, *names: str) -> None:
    """Refuse weights without a classifier.

    Raises:
        InputError: If none of `names` is there (none given: a ViT's).
    """
    if not any(name in state for name in names or ("head.weight",)):
        pretrained = (
            " It is a masked autoencoder's pretraining." if any("decoder_blocks" in key for key in state) else ""
        )
        raise InputError(
            f"{shown(path)} holds features without a classifier (there is no {(names or ('head.weight',))[0]}), so it "
            f"names no class; fine-tune it with a classifier, or give a file that has one.{pretrained}"
        )


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same function in the names and shapes of a plain DeiT; see `read_plain`."""
    found = dict(state)
    for key in state:
        for scale, layer in SCALES:
            if key.startswith("blocks.") and key.endswith(f".{scale}"):
                start = key.removesuffix(scale) + layer
                parts = [part for part in (f"{start}.weight", f"{start}.bias") if part in found]
                if parts and all(found[part].shape[:1] == state[key].shape and state[key].ndim == 1 for part in parts):
                    gamma = found.pop(key)
                    for part in parts:
                        found[part] = found[part] * (gamma[:, None] if found[part].ndim == 2 else gamma)
    biases = [key for key in found if key.startswith("blocks.") and key.endswith("attn.qkv.bias")]
    for key in list(found):
        bias = key.removesuffix("weight") + "bias"
        lacks = (key.endswith("attn.qkv.weight") and not biases) or key in ("head.weight", "patch_embed.proj.weight")
        if lacks and bias not in found and found[key].ndim > 1:
            found[bias] = torch.zeros(found[key].shape[0])
    positions, prefix = found.get("pos_embed"), 2 if "dist_token" in found else 1
    if positions is not None and positions.ndim == 3 and _is_square(positions.shape[1]):
        found["pos_embed"] = torch.cat((positions.new_zeros(1, prefix, positions.shape[2]), positions), dim=1)
    return found


def _is_square(count: int) -> bool:
    return count > 1 and round(count**0.5) ** 2 == count


def heads_of_flat(state: dict[str, Tensor], path: Path, told: Told) -> tuple[int, tuple[str, ...]]:
    """H of a flat ViT, and what is to be said where nothing tells it.

    The person tells it, or the file's settings, or the architecture that either names. Else timm's models of this width
    and depth do, or heads have 64 channels, as most have: both are said.

    Raises:
        InputError: If what is told does not divide the width, or 64 does not where nothing is told.
    """
    try:
        width, depth = state["patch_embed.proj.weight"].shape[0], depth_of(state)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise _no_vit(path) from error
    heads = _told_heads(width, path, told)
    if heads is not None:
        return heads, ()
    heads, why = HEADS.get((width, depth)), "as all of timm's of this width and depth have"
    if heads is None and width % HEAD_WIDTH:
        raise InputError(
            f"{shown(path)} does not say how many attention heads its blocks have, and {width} channels do not tell; "
            "name their number with --heads, or timm's model with --arch."
        )
    if heads is None:
        heads, why = width // HEAD_WIDTH, f"of {HEAD_WIDTH} channels, as most ViTs have them"
    said = f"{heads} attention head{'s' if heads > 1 else ''}"
    return heads, (
        f"The file does not say how many attention heads its blocks have; read with {said}, {why}. If that is "
        "wrong, so are all answers: name their number with --heads, or timm's model with --arch.",
    )


def _told_heads(width: int, path: Path, told: Told) -> int | None:
    """H as the person, the file's settings or its architecture's name tell it."""
    if told.heads is not None and len(set(told.heads)) > 1:
        raise InputError(f"{shown(path)} has blocks of one width, so --heads takes one number.")
    heads = None if told.heads is None else told.heads[0]
    if heads is None and told.arch is not None:
        named = arch_of(told.arch).geometry
        if told.insists and getattr(named, "width", 0) != width:
            raise InputError(f"{shown(path)} is no {told.arch}: its tokens have {width} channels; name another --arch.")
        heads = named.heads if getattr(named, "width", 0) == width and isinstance(named.heads, int) else None
    if heads is not None and width % heads:
        raise InputError(
            f"{shown(path)} has tokens of {width} channels, which do not divide by {heads} heads; name their number "
            "with --heads."
        )
    return heads


def _no_vit(path: Path) -> InputError:
    """What to say of a file that has a ViT's names, but not its shapes."""
    return InputError(f"{shown(path)} lacks weights of a ViT in timm's layout, or their shapes do not fit together.")


def check_size_told(geometry: Geometry, told: Told, path: Path) -> None:
    """Refuse an --img-size that contradicts the positions.

    Raises:
        InputError: If it does; what the file's own settings say besides is passed over, as the positions decide.
    """
    if told.asked_size not in (None, geometry.img_size):
        raise InputError(
            f"{shown(path)} has positions for {geometry.img_size} x {geometry.img_size} pixels; omit --img-size."
        )


def deit_geometry(state: dict[str, Tensor], path: Path, *, heads: int, ffn_hidden: int | None = None) -> DeitGeometry:
    """The geometry of DeiT weights, told by their shapes.

    Args:
        state: Weights under timm's names.
        path: For the error.
        heads: H, which no shape tells.
        ffn_hidden: F of the dense model; None: that of the first block.

    Raises:
        InputError: If the keys are not timm's for a DeiT, or the shapes fit none.
    """
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        prefix = 2 if "dist_token" in state else 1
        side = round((state["pos_embed"].shape[1] - prefix) ** 0.5)
        geometry = DeitGeometry(
            img_size=side * patch,
            patch=patch,
            width=width,
            depth=depth_of(state),
            heads=heads,
            ffn_hidden=ffn_hidden or state["blocks.0.mlp.fc1.weight"].shape[0],
            classes=state["head.weight"].shape[0],
            prefix_tokens=prefix,
            distilled=prefix == 2,
        )
    except (KeyError, ValueError, ZeroDivisionError, IndexError, AttributeError, TypeError) as error:
        raise _no_vit(path) from error
    if geometry.patches + prefix != state["pos_embed"].shape[1]:
        count = state["pos_embed"].shape[1] - prefix
        raise InputError(
            f"{shown(path)} has positions for {count} patches, which is no square grid; only square inputs are read."
        )
    return geometry


def depth_of(state: dict[str, Tensor]) -> int:
    """L: how many numbers of blocks there are.

    Raises:
        ValueError: If they are not 0 to L - 1.
    """
    numbers = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
    if numbers != set(range(len(numbers))):
        raise ValueError(f"blocks {sorted(numbers)[:3]} ... {max(numbers, default=-1)}")
    return len(numbers)


@lru_cache(maxsize=4)
def released_classes(count: int) -> tuple[ClassName, ...]:
    """The classes of the ImageNet list that has as many (1k, 12k, 21k and kin, as timm tells them), else numbers."""
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return tuple(ClassName(None, f"class {i}") for i in range(count))
    info = ImageNetInfo(subset)
    return class_names(info.label_names(), info)
