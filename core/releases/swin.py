"""The Swin checkpoints of He et al. (arXiv:2111.11802), searched and fine-tuned, and plain ones in Swin's own layout.

What differs from our own models: the centre of a kernel is stored first, the other eight offsets follow column by
column. A block without a mixer adds its normalised input in a fine-tuned file, and nothing in a searched one. And a
searched file convolves inside shifted windows, a fine-tuned one over the whole map.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from core.backbones import swin
from core.cards import DAMAGED, CompactCard, ModelCard, SinglePathCard
from core.errors import InputError
from core.releases.plain import NORMALISATION, released_classes
from core.releases.single_path import NO_PARAMETERS, fill, heads_of, is_single_path, mixer_of, plain_keys, row_major
from core.single_path.compact import carve
from core.single_path.mixer import CENTRE
from core.single_path.model import Path as GatedPath
from core.single_path.model import SinglePathViT
from core.swin_counts import SwinGeometry
from core.weights import load_weights

HEAD_WIDTH = 32
"""Channels per head of every Swin."""
FFN_RATIO, WINDOW = 4, 7
"""Of every Swin of theirs, where the shapes do not tell: hidden units of a dense FFN in widths; side of a window."""
BUFFERS = ("relative_position_index", "attn_mask")
"""Stored, but no weights."""
Block = dict[str, Tensor]


def is_swin(state: dict[str, Tensor]) -> bool:
    """Whether these weights are in Swin's own layout, dense or pruned."""
    return any(key.startswith("layers.0.blocks.") for key in state)


def read_swin(state: dict[str, Tensor], path: Path) -> tuple[nn.Module, ModelCard]:
    """The model of a file: a dense Swin, the search form with its gates, or the compact form of a fine-tuned one.

    Args:
        state: Weights under the names of Swin's own code, or of the release.
        path: For errors.

    Raises:
        InputError: If weights are missing or of other shapes.
    """
    try:
        stages = _stages(state)
        if not is_single_path(state):
            return _read_dense(state, stages, path)
        searched = any(_thresholds(block) is not None for stage in stages for block in stage)
        return (_read_searched if searched else _read_finetuned)(state, stages, path)
    except (*DAMAGED, IndexError, RuntimeError) as error:
        detail = str(error).splitlines()[0].strip("'")
        raise InputError(f"{path} lacks weights of a Swin, or they do not fit ({detail}).") from error


def swin_geometry(state: dict[str, Tensor], stages: list[list[Block]], ffn_ratio: int) -> SwinGeometry:
    """The geometry, told by shapes: of tables of relative positions, of masks of shifted windows, of head mixing.

    Where no mask is stored, the last stage is one window, as in every Swin of theirs.

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
        img_size=patch * grid,
        patch=patch,
        window=window,
        ffn_ratio=ffn_ratio,
        classes=len(state["head.weight"]),
    )


def centre_first(head_logits: Tensor) -> Tensor:
    """Head mixing logits (H, 9) from the release's order of a Swin's offsets, the centre first, to ours, row by row."""
    by_column = torch.cat((head_logits[:, 1 : CENTRE + 1], head_logits[:, :1], head_logits[:, CENTRE + 1 :]), dim=1)
    return row_major(by_column)


def _read_dense(state: dict[str, Tensor], stages: list[list[Block]], path: Path) -> tuple[nn.Module, ModelCard]:
    geometry = swin_geometry(state, stages, _ratio(stages))
    model = swin.build(geometry)
    names = (name for name in state if not name.endswith(BUFFERS))
    load_weights(model, {_outer(name): state[name] for name in names}, path)
    return model, ModelCard(swin.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION)


def _read_searched(state: dict[str, Tensor], stages: list[list[Block]], path: Path) -> tuple[nn.Module, ModelCard]:
    geometry = swin_geometry(state, stages, _ratio(stages))
    model = SinglePathViT(swin.build(geometry), swin.SEARCH.alpha, in_windows=True)
    weights = {f"backbone.{key}": value for key, value in _around(state).items()}
    for at, (start, block) in enumerate(_named(stages)):
        mine = f"paths.{at}."
        weights |= {f"backbone.{start}{key}": value for key, value in plain_keys(block).items()}
        weights |= {mine + key.removeprefix("attn."): block[key] for key in block if key.startswith("attn.bn_")}
        weights[mine + "head_logits"] = centre_first(block["attn.head_probs"])
        weights[mine + "mixer_logits"] = _thresholds(block)
        weights[mine + "ffn_logits"] = block["mlp.ffn_thresholds"]
    load_weights(model, weights, path)
    single = SinglePathCard(swin.SEARCH.alpha, fit_to_predict=True, in_windows=True)
    return model, _card(geometry, single_path=single)


def _read_finetuned(state: dict[str, Tensor], stages: list[list[Block]], path: Path) -> tuple[nn.Module, ModelCard]:
    named = _named(stages)
    mixers = tuple(mixer_of(block) for _, block in named)
    hidden = tuple(len(block["mlp.fc1.weight"]) for _, block in named)
    geometry = swin_geometry(state, stages, max(FFN_RATIO, _ratio(stages)))
    model = swin.build(geometry)
    blocks = swin.blocks_of(model)
    original = [(block.attn, GatedPath(block)) for block in blocks]
    carve(model, mixers, hidden, skip_passes=True)
    weights = _around(state)
    for at, ((start, block), kind) in enumerate(zip(named, mixers, strict=True)):
        if kind in ("conv3x3", "conv1x1"):
            fill(blocks[at].attn, block, kind, *original[at], alpha=swin.SEARCH.alpha, offsets=centre_first)
        own = blocks[at].state_dict()
        read_already = {key: own[key] for key in own if key.startswith(("attn.reduce.", "attn.expand."))}
        weights |= {start + key: value for key, value in {**plain_keys(block, kind), **read_already}.items()}
    load_weights(model, weights, path)
    stored = sum(value.numel() for key, value in state.items() if not key.endswith((*NO_PARAMETERS, *BUFFERS)))
    return model, _card(geometry, compact=CompactCard(mixers, hidden, None, stored, skip_passes=True))


def _card(geometry: SwinGeometry, **kind: SinglePathCard | CompactCard) -> ModelCard:
    told = {"command": "released by He et al., arXiv:2111.11802"}
    return ModelCard(swin.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION, training=told, **kind)


def _stages(state: dict[str, Tensor]) -> list[list[Block]]:
    """The weights of each block without their prefix, stage by stage."""
    found: dict[tuple[int, int], Block] = {}
    for key, value in state.items():
        parts = key.split(".", 4)
        if len(parts) == 5 and parts[0] == "layers" and parts[2] == "blocks":
            found.setdefault((int(parts[1]), int(parts[3])), {})[parts[4]] = value
    depths = [sum(at == stage for at, _ in found) for stage in range(1 + max(at for at, _ in found))]
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


def _thresholds(block: Block) -> Tensor | None:
    """The three mixer gates of a searched block: under the name in their Swin's code, or the one in their DeiT's."""
    return block.get("attn.kernel_thresholds_full", block.get("attn.kernel_thresholds"))


def _has_table(block: Block) -> bool:
    return "attn.relative_position_bias_table" in block


def _ratio(stages: list[list[Block]]) -> int:
    """Hidden units of the widest FFN in widths of its stage, rounded up."""
    return max(-(-len(block["mlp.fc1.weight"]) // len(block["norm1.weight"])) for stage in stages for block in stage)
