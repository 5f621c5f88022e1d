"""The DeiT checkpoints of He et al. (arXiv:2111.11802): searched, fine-tuned and optimised, with their semantics.

Three things differ from our own models. Kernel offset k sits at row k mod 3, column k div 3. Where a block is a
convolution, its class token gets its own normalised input added, not nothing. And a block without a mixer adds its
normalised input in a fine-tuned or optimised file, and nothing in a searched one.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from timm.layers import Attention
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn

from core.costs.deit import DeitGeometry
from core.errors import InputError, printable
from core.families import deit
from core.families.block import PreNorm
from core.models.cards import DAMAGED, CompactCard, ModelCard, SinglePathCard
from core.models.file_kinds import shown
from core.models.releases.plain import NORMALISATION, deit_geometry, depth_of, heads_of_flat, released_classes
from core.models.releases.told import NOTHING, Told
from core.models.weights import check_room, load_weights
from core.results import Mixer
from core.single_path.compact import ConvMixer, carve, fill_conv, fold_norm
from core.single_path.mixer import OFFSETS
from core.single_path.model import Path as GatedPath
from core.single_path.model import SinglePathViT

ALPHA = 0.01
"""Temperature of the head mixing in all their DeiT files; the files do not say it."""
FFN_RATIO = 4
"""Hidden units of a dense FFN, in widths."""
NO_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked", "assigned_indicator_index")
MARKS = (".attn.qk.weight", ".attn.head_probs", ".attn.bconv.0.weight")
"""Keys that only these files have."""


def is_single_path(state: dict[str, Tensor]) -> bool:
    """Whether these weights are in the layout of the release, of any family."""
    return any(key.endswith(MARKS) for key in state)


def read_single_path(state: dict[str, Tensor], path: Path, told: Told = NOTHING) -> tuple[nn.Module, ModelCard]:
    """The model of a released file: the search form with its gates, or the compact form of a fine-tuned one.

    Args:
        state: Weights under the release's names.
        path: For errors.
        told: Of the file beside its weights.

    Raises:
        InputError: If weights are missing or of other shapes.
    """
    try:
        searched = any(key.endswith(".attn.kernel_thresholds") for key in state)
        return _read_searched(state, path) if searched else _read_finetuned(state, path, told)
    except InputError:
        raise
    except (*DAMAGED, IndexError, RuntimeError) as error:
        detail = printable((str(error).splitlines() or [""])[0].strip("'"))
        raise InputError(f"{shown(path)} lacks weights of a pruned DeiT, or they do not fit ({detail}).") from error


def _read_searched(state: dict[str, Tensor], path: Path) -> tuple[nn.Module, ModelCard]:
    geometry = deit_geometry(state, path, heads=state["blocks.0.attn.head_probs"].shape[0])
    check_room(geometry, state, path)
    model = SinglePathViT(deit.build(geometry), ALPHA, prefix_passes=True)
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        if not key.startswith("blocks."):
            weights[f"backbone.{key}"] = value
    for at in range(geometry.depth):
        block, mine = _block(state, at), f"paths.{at}."
        weights |= {f"backbone.blocks.{at}.{key}": value for key, value in plain_keys(block).items()}
        weights |= {
            mine + key.removeprefix("attn."): value for key, value in block.items() if key.startswith("attn.bn_")
        }
        weights[mine + "head_logits"] = row_major(block["attn.head_probs"])
        weights[mine + "mixer_logits"] = block["attn.kernel_thresholds"]
        weights[mine + "ffn_logits"] = block["mlp.ffn_thresholds"]
    load_weights(model, weights, path, "of a pruned DeiT")
    single = SinglePathCard(ALPHA, fit_to_predict=True, prefix_passes=True)
    return model, _card(geometry, (), single_path=single)


def _read_finetuned(state: dict[str, Tensor], path: Path, told: Told) -> tuple[nn.Module, ModelCard]:
    blocks = [_block(state, at) for at in range(depth_of(state))]
    mixers: tuple[Mixer, ...] = tuple(mixer_of(block) for block in blocks)
    hidden = tuple(len(block["mlp.fc1.weight"]) for block in blocks)
    full = max(FFN_RATIO * state["patch_embed.proj.weight"].shape[0], *hidden)
    heads, notes = heads_of(blocks), ()
    if heads is None:
        heads, notes = heads_of_flat(state, path, told)
    geometry = deit_geometry(state, path, heads=heads, ffn_hidden=full)
    check_room(geometry, state, path)
    model = deit.build(geometry)
    made = deit.blocks_of(model)
    original = [(block.attn, GatedPath(block)) for block in made]
    carve(model, mixers, hidden, prefix_passes=True, skip_passes=True)
    weights = {key: value for key, value in state.items() if not key.startswith("blocks.")}
    for at, (block, kind) in enumerate(zip(blocks, mixers, strict=True)):
        if kind in ("conv3x3", "conv1x1"):
            fill(made[at].attn, block, kind, *original[at], alpha=ALPHA, offsets=row_major)
        read = {**plain_keys(block, kind), **convolution_of(made[at])}
        weights |= {f"blocks.{at}.{key}": value for key, value in read.items()}
    load_weights(model, weights, path, "of a pruned DeiT")
    stored = sum(value.numel() for key, value in state.items() if not key.endswith(NO_PARAMETERS))
    return model, _card(geometry, notes, compact=CompactCard(mixers, hidden, None, stored, True, True))


def _card(
    geometry: DeitGeometry,
    notes: tuple[str, ...],
    single_path: SinglePathCard | None = None,
    compact: CompactCard | None = None,
) -> ModelCard:
    made = {"command": "released by He et al., arXiv:2111.11802"}
    classes = released_classes(geometry.classes)
    card = ModelCard(deit.FAMILY, geometry, classes, NORMALISATION, training=made, notes=notes)
    return replace(card, single_path=single_path, compact=compact)


def _block(state: dict[str, Tensor], at: int) -> dict[str, Tensor]:
    """The weights of one block, without its prefix."""
    start = f"blocks.{at}."
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def mixer_of(block: dict[str, Tensor]) -> Mixer:
    """What the block's keys say that it became."""
    if "attn.qk.weight" in block:
        return "msa"
    if "attn.bconv.0.weight" in block:
        return "conv3x3" if block["attn.bconv.0.weight"].shape[-1] == 3 else "conv1x1"
    if "attn.bn_3x3.weight" in block:
        return "conv3x3"
    if "attn.bn_1x1.weight" in block:
        return "conv1x1"
    if left := sorted(key for key in block if key.startswith("attn.")):
        raise ValueError(f"{left[0]} without a batch norm")
    return "skip"


def heads_of(blocks: list[dict[str, Tensor]]) -> int | None:
    """H, where a convolution or a table of relative positions tells it; None: nothing does."""
    for block in blocks:
        if "attn.head_probs" in block:
            return len(block["attn.head_probs"])
        if "attn.relative_position_bias_table" in block:
            return block["attn.relative_position_bias_table"].shape[1]
        if "attn.bconv.0.weight" in block:
            d, dim = block["attn.bconv.0.weight"].shape[:2]
            return dim // d
    return None


def plain_keys(block: dict[str, Tensor], kind: Mixer = "msa") -> dict[str, Tensor]:
    """Norms, FFN and attention of one block, of either family, under timm's names."""
    found = {key: value for key, value in block.items() if key.startswith(("norm1.", "norm2.", "mlp.fc"))}
    if kind == "msa":
        found |= {
            key: value for key, value in block.items() if key.startswith(("attn.proj.", "attn.relative_position_bias"))
        }
        for part in ("weight", "bias"):
            found[f"attn.qkv.{part}"] = torch.cat((block[f"attn.qk.{part}"], block[f"attn.v.{part}"]))
    return found


def convolution_of(block: PreNorm) -> dict[str, Tensor]:
    """The weights of the convolution that stands in a block, where one does, by their names in it."""
    own = block.attn.state_dict()
    return {f"attn.{key}": own[key] for key in own if key.startswith(("reduce.", "expand."))}


@torch.no_grad()
def fill(
    conv: ConvMixer,
    block: dict[str, Tensor],
    kind: Mixer,
    attn: Attention | WindowAttention,
    path: GatedPath,
    *,
    alpha: float,
    offsets: Callable[[Tensor], Tensor],
) -> None:
    """The convolution of one block: stored as such in an optimised file, read out of the heads in the others.

    Args:
        conv: To be filled.
        block: Weights under the release's names.
        kind: A convolution.
        attn: timm's attention that stood there; its weights are overwritten.
        path: Of that block, likewise.
        alpha: Temperature of the head mixing.
        offsets: Head mixing logits (H, 9) from the release's order of offsets to ours.
    """
    if "attn.bconv.0.weight" in block:
        norm = nn.BatchNorm2d(len(block["attn.bconv.0.weight"]))
        norm.load_state_dict({key.rsplit(".", 1)[1]: v for key, v in block.items() if key.startswith("attn.bconv.1.")})
        fold_norm(conv.reduce, block["attn.bconv.0.weight"], block["attn.bconv.0.bias"], norm)
        conv.expand.load_state_dict({key: block[f"attn.bconv.3.{key}"] for key in ("weight", "bias")})
        return
    unused = torch.zeros(2 * attn.qkv.in_features, attn.qkv.in_features)  # a convolution reads the values alone
    weight, bias = torch.cat((unused, block["attn.v.weight"])), torch.cat((unused[:, 0], block["attn.v.bias"]))
    attn.qkv.load_state_dict({"weight": weight, "bias": bias})
    attn.proj.load_state_dict({"weight": block["attn.proj.weight"], "bias": block["attn.proj.bias"]})
    path.head_logits.copy_(offsets(block["attn.head_probs"]))
    norm, name = (path.bn_3x3, "attn.bn_3x3.") if kind == "conv3x3" else (path.bn_1x1, "attn.bn_1x1.")
    norm.load_state_dict({key.removeprefix(name): value for key, value in block.items() if key.startswith(name)})
    fill_conv(conv, attn, path, kind, alpha)


def row_major(head_logits: Tensor) -> Tensor:
    """Head mixing logits (H, 9) from the release's column-by-column offsets to ours, row by row."""
    return head_logits.reshape(-1, OFFSETS).unflatten(1, (3, 3)).transpose(1, 2).flatten(1)
