"""The Swin checkpoints of He et al. (arXiv:2111.11802), searched and fine-tuned, and plain ones in both layouts.

Swin's own code merges patches where a stage ends and names its classifier `head`, timm merges where one begins and
says `head.fc`; what timm writes has no masks of shifted windows, which are all that tells the pixels.

What differs from our own models: the centre of a kernel is stored first, the other eight offsets follow column by
column. A block without a mixer adds its normalised input in a fine-tuned file, and nothing in a searched one. And a
searched file convolves inside shifted windows, a fine-tuned one over the whole map.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
from timm.layers import PatchEmbed, to_2tuple
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from core.costs.swin import SwinGeometry
from core.errors import InputError, printable
from core.families import swin
from core.models.cards import DAMAGED, CompactCard, ModelCard, SinglePathCard
from core.models.file_kinds import shown
from core.models.releases.plain import NORMALISATION, check_head, released_classes
from core.models.releases.single_path import (
    NO_PARAMETERS,
    convolution_of,
    fill,
    heads_of,
    is_single_path,
    mixer_of,
    plain_keys,
    row_major,
)
from core.models.releases.told import NOTHING, Told, arch_of
from core.models.weights import check_room, load_weights
from core.results import Mixer
from core.single_path.compact import carve
from core.single_path.mixer import CENTRE
from core.single_path.model import Path as GatedPath
from core.single_path.model import SinglePathViT

HEAD_WIDTH = 32
"""Channels per head of every Swin."""
FFN_RATIO, WINDOW = 4, 7
"""Of every Swin of theirs, where the shapes do not tell: hidden units of a dense FFN in widths; side of a window."""
BUFFERS = ("relative_position_index", "attn_mask")
"""Stored, but no weights."""
THRESHOLDS = ("attn.kernel_thresholds_full", "attn.kernel_thresholds")
"""Names of the three mixer gates of a searched block: the one in their Swin's code, and the one in their DeiT's."""
Block = dict[str, Tensor]


class AnySize(SwinTransformer):
    """A Swin whose file does not say its pixels: images of every size that fills whole windows, (B, 3, H, H)."""

    patch_embed: PatchEmbed

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits (B, C); for another size than it was built for by a twin with the same weights.

        Raises:
            InputError: If windows do not fill every stage at that size.
        """
        if x.shape[-2:] == to_2tuple(self.patch_embed.img_size):
            return super().forward(x)
        if x.shape[-1] != x.shape[-2]:
            raise InputError(f"This model takes square images; these have {x.shape[-2]} x {x.shape[-1]} pixels.")
        try:
            geometry = replace(swin.geometry_of(self), img_size=x.shape[-1])
        except ValueError as error:
            raise InputError(f"Windows do not fill every stage of this model at {x.shape[-1]} pixels.") from error
        twin = swin.build(geometry).to(x.device).train(self.training)
        twin.load_state_dict(self.state_dict(), assign=True)
        return twin(x)


def is_swin(state: dict[str, Tensor]) -> bool:
    """Whether these weights are in Swin's own layout, dense or pruned."""
    return any(key.startswith("layers.0.blocks.") for key in state)


def read_swin(state: dict[str, Tensor], path: Path, told: Told = NOTHING) -> tuple[nn.Module, ModelCard]:
    """The model of a file: a dense Swin, the search form with its gates, or the compact form of a fine-tuned one.

    Args:
        state: Weights under the names of Swin's own code, of timm, or of the release.
        path: For errors.
        told: Of the file beside its weights.

    Raises:
        InputError: If weights are missing or of other shapes.
    """
    check_head(state, path, "head.weight", "head.fc.weight")
    state = own_layout(state)
    try:
        stages = _stages(state)
        if not is_single_path(state):
            return _read_dense(state, stages, path, told)
        searched = any(name in block for stage in stages for block in stage for name in THRESHOLDS)
        return (_read_searched if searched else _read_finetuned)(state, stages, path)
    except InputError:
        raise
    except (*DAMAGED, IndexError, RuntimeError) as error:
        detail = printable((str(error).splitlines() or [""])[0].strip("'"))
        raise InputError(f"{shown(path)} lacks weights of a Swin, or they do not fit ({detail}).") from error


def own_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in timm's layout under the names of Swin's own code."""
    found = {key.replace("head.fc.", "head."): value for key, value in state.items()}
    if any(key.startswith("layers.0.downsample.") for key in state):
        return found
    return {_earlier(key): value for key, value in found.items()}


def _earlier(key: str) -> str:
    """A merging under the number of the stage before."""
    start, number, rest = [*key.split(".", 2), "", ""][:3]
    merges = start == "layers" and rest.startswith("downsample.") and number.isdecimal() and number != "0"
    return f"layers.{int(number) - 1}.{rest}" if merges else key


def swin_geometry(
    state: dict[str, Tensor], stages: list[list[Block]], ffn_ratio: int, img_size: int | None = None
) -> SwinGeometry:
    """The geometry, told by shapes: of tables of relative positions, of masks of shifted windows, of head mixing.

    Where no mask is stored and no `img_size` is told, the last stage is one window, as in every Swin of theirs.

    Raises:
        KeyError: If weights are missing.
        ValueError: If the shapes fit no Swin.
    """
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    blocks = [block for stage in stages for block in stage]
    tables = [len(block["attn.relative_position_bias_table"]) for block in blocks if _has_table(block)]
    masks = [(at, block["attn_mask"]) for at, stage in enumerate(stages) for block in stage if "attn_mask" in block]
    window = math.isqrt(masks[0][1].shape[-1]) if masks else WINDOW
    if tables:
        window = (math.isqrt(max(tables)) + 1) // 2  # (2 W - 1)^2 rows
    grid = window * 2 ** (len(stages) - 1)
    if masks:
        at, mask = masks[0]  # (windows, W^2, W^2)
        grid = window * math.isqrt(len(mask)) * 2**at
    return SwinGeometry(
        width=width,
        depths=tuple(len(stage) for stage in stages),
        heads=tuple(heads_of(stage) or width * 2**at // HEAD_WIDTH for at, stage in enumerate(stages)),
        img_size=patch * grid if masks or img_size is None else img_size,
        patch=patch,
        window=window,
        ffn_ratio=ffn_ratio,
        classes=len(state["head.weight"]),
    )


def centre_first(head_logits: Tensor) -> Tensor:
    """Head mixing logits (H, 9) from the release's order of a Swin's offsets, the centre first, to ours, row by row."""
    by_column = torch.cat((head_logits[:, 1 : CENTRE + 1], head_logits[:, :1], head_logits[:, CENTRE + 1 :]), dim=1)
    return row_major(by_column)


def _read_dense(
    state: dict[str, Tensor], stages: list[list[Block]], path: Path, told: Told
) -> tuple[nn.Module, ModelCard]:
    size, notes = told.img_size, ()
    if size is None and told.arch is not None:
        size = arch_of(told.arch).geometry.img_size
    try:
        geometry = swin_geometry(state, stages, _ratio(stages), size)
    except ValueError as error:
        if told.asked_size is None:
            raise
        raise InputError(
            f"{shown(path)} takes no {told.asked_size} pixels: its windows do not fill every stage; name another "
            "--img-size."
        ) from error
    has_masks = any("attn_mask" in block for stage in stages for block in stage)
    if has_masks and told.asked_size not in (None, geometry.img_size):
        raise InputError(f"{shown(path)} has masks for {geometry.img_size} pixels; omit --img-size.")
    unsaid = not has_masks and size is None
    if unsaid:
        notes = (
            f"The file does not say how many pixels it was trained for; photos are read at {geometry.img_size}, where "
            "the last stage is one window. If that is wrong, name the side with --img-size, or timm's model with "
            "--arch.",
        )
    check_room(geometry, state, path)
    model = swin.build(geometry, kind=AnySize if unsaid else SwinTransformer)
    names = (name for name in state if not name.endswith(BUFFERS))
    load_weights(model, {_outer(name): state[name] for name in names}, path, "of a Swin")
    return model, ModelCard(swin.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION, notes=notes)


def _read_searched(state: dict[str, Tensor], stages: list[list[Block]], path: Path) -> tuple[nn.Module, ModelCard]:
    geometry = swin_geometry(state, stages, _ratio(stages))
    check_room(geometry, state, path)
    model = SinglePathViT(swin.build(geometry), swin.SEARCH.alpha, in_windows=True)
    weights = {f"backbone.{key}": value for key, value in _around(state).items()}
    for at, (start, block) in enumerate(_named(stages)):
        mine = f"paths.{at}."
        weights |= {f"backbone.{start}{key}": value for key, value in plain_keys(block).items()}
        weights |= {mine + key.removeprefix("attn."): block[key] for key in block if key.startswith("attn.bn_")}
        weights[mine + "head_logits"] = centre_first(block["attn.head_probs"])
        weights[mine + "mixer_logits"] = _thresholds(block)
        weights[mine + "ffn_logits"] = block["mlp.ffn_thresholds"]
    load_weights(model, weights, path, "of a pruned Swin")
    single = SinglePathCard(swin.SEARCH.alpha, fit_to_predict=True, in_windows=True)
    return model, _card(geometry, single_path=single)


def _read_finetuned(state: dict[str, Tensor], stages: list[list[Block]], path: Path) -> tuple[nn.Module, ModelCard]:
    named = _named(stages)
    mixers: tuple[Mixer, ...] = tuple(mixer_of(block) for _, block in named)
    hidden = tuple(len(block["mlp.fc1.weight"]) for _, block in named)
    geometry = swin_geometry(state, stages, max(FFN_RATIO, _ratio(stages)))
    check_room(geometry, state, path)
    model = swin.build(geometry)
    blocks = swin.blocks_of(model)
    original = [(block.attn, GatedPath(block)) for block in blocks]
    carve(model, mixers, hidden, skip_passes=True)
    weights = _around(state)
    for at, ((start, block), kind) in enumerate(zip(named, mixers, strict=True)):
        if kind in ("conv3x3", "conv1x1"):
            fill(blocks[at].attn, block, kind, *original[at], alpha=swin.SEARCH.alpha, offsets=centre_first)
        read = {**plain_keys(block, kind), **convolution_of(blocks[at])}
        weights |= {start + key: value for key, value in read.items()}
    load_weights(model, weights, path, "of a pruned Swin")
    stored = sum(value.numel() for key, value in state.items() if not key.endswith((*NO_PARAMETERS, *BUFFERS)))
    return model, _card(geometry, compact=CompactCard(mixers, hidden, None, stored, skip_passes=True))


def _card(
    geometry: SwinGeometry, single_path: SinglePathCard | None = None, compact: CompactCard | None = None
) -> ModelCard:
    told = {"command": "released by He et al., arXiv:2111.11802"}
    classes = released_classes(geometry.classes)
    card = ModelCard(swin.FAMILY, geometry, classes, NORMALISATION, training=told)
    return replace(card, single_path=single_path, compact=compact)


def _stages(state: dict[str, Tensor]) -> list[list[Block]]:
    """The weights of each block without their prefix, stage by stage."""
    found: dict[tuple[int, int], Block] = {}
    for key, value in state.items():
        parts = key.split(".", 4)
        if len(parts) == 5 and parts[0] == "layers" and parts[2] == "blocks":
            found.setdefault((int(parts[1]), int(parts[3])), {})[parts[4]] = value
    numbers = sorted({at for at, _ in found})
    if numbers != list(range(len(numbers))):
        raise ValueError(f"stages {numbers[:3]} ... {numbers[-1]}")
    depths = [sum(at == stage for at, _ in found) for stage in numbers]
    return [[found[stage, index] for index in range(depth)] for stage, depth in enumerate(depths)]


def _named(stages: list[list[Block]]) -> list[tuple[str, Block]]:
    """Each block with the start of its names in timm's model, from the input on, L of them."""
    return [(f"layers.{at}.blocks.{i}.", block) for at, stage in enumerate(stages) for i, block in enumerate(stage)]


def _around(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is in no block, under timm's names."""
    return {_outer(key): value for key, value in state.items() if ".blocks." not in key}


def _outer(key: str) -> str:
    """timm's name: it merges patches where a stage begins, not where the one before ends."""
    parts = key.split(".")
    if parts[0] == "head":
        return ".".join(("head", "fc", *parts[1:]))
    if parts[0] == "layers" and parts[2] == "downsample":
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def _thresholds(block: Block) -> Tensor:
    """The three mixer gates of a searched block."""
    first, second = THRESHOLDS
    return block[first if first in block else second]


def _has_table(block: Block) -> bool:
    return "attn.relative_position_bias_table" in block


def _ratio(stages: list[list[Block]]) -> int:
    """Hidden units of the widest FFN in widths of its stage, rounded up."""
    return max(-(-len(block["mlp.fc1.weight"]) // len(block["norm1.weight"])) for stage in stages for block in stage)
