"""Dense PiT weights, in timm's layout or in that of their release: what their shapes tell, and what they do not.

Heo et al. 2021, arXiv:2103.16302; github.com/naver-ai/pit. The release keeps its poolings apart (`pools.0`), timm at
the start of the stage behind (`transformers.1.pool`).
"""

import re
from pathlib import Path

from torch import Tensor, nn

from core.config import Normalisation
from core.costs.pit import PIT, PitGeometry
from core.errors import InputError, printable
from core.families import pit
from core.models.cards import DAMAGED, ModelCard
from core.models.file_kinds import shown
from core.models.releases.plain import check_head, released_classes
from core.models.releases.told import Told, arch_of
from core.models.weights import check_room, load_weights

NORMALISATION = Normalisation(crop_pct=0.9)
"""Of timm's PiTs."""
HEAD_WIDTH = 48
"""Channels per head in the first stage of two of the four released sizes."""
POOL = re.compile(r"^pools\.(\d{1,3})\.")


def is_pit(state: dict[str, Tensor]) -> bool:
    """Whether these weights are of a PiT."""
    return any(key.startswith("transformers.0.blocks.") for key in state)


def read_pit(state: dict[str, Tensor], path: Path, told: Told) -> tuple[nn.Module, ModelCard]:
    """The dense model of such a file.

    Raises:
        InputError: If weights are missing, too many or of other shapes, or heads do not divide their widths.
    """
    check_head(state, path)
    state = {POOL.sub(lambda found: f"transformers.{int(found[1]) + 1}.pool.", key): v for key, v in state.items()}
    try:
        geometry, notes = _geometry(state, path, told)
        check_room(geometry, state, path)
        model = pit.build(geometry)
    except InputError:
        raise
    except (*DAMAGED, RuntimeError) as error:
        detail = printable((str(error).splitlines() or [""])[0].strip("'"))
        raise InputError(f"{shown(path)} lacks weights of a PiT, or they do not fit ({detail}).") from error
    load_weights(model, state, path, "of a PiT")
    return model, ModelCard(pit.FAMILY, geometry, released_classes(geometry.classes), NORMALISATION, notes=notes)


def _geometry(state: dict[str, Tensor], path: Path, told: Told) -> tuple[PitGeometry, tuple[str, ...]]:
    """The geometry, and what is to be said of what no shape tells: heads, and how far patches overlap."""
    places = {tuple(map(int, key.split(".")[1:4:2])) for key in state if ".blocks." in key}
    stages = sorted({stage for stage, _ in places})
    if stages != list(range(len(stages))):
        raise ValueError(f"stages {stages[:3]}")
    depths = tuple(sum(at == stage for at, _ in places) for stage in stages)
    widths = tuple(len(state[f"transformers.{stage}.blocks.0.norm1.weight"]) for stage in stages)
    _, _, patch, _ = state["patch_embed.conv.weight"].shape
    rows, columns = state["pos_embed"].shape[-2:]
    if rows != columns:
        raise InputError(f"{shown(path)} has positions for {rows} x {columns} patches; only square inputs are read.")
    known = next((g for g in PIT.values() if (g.widths, g.depths, g.patch) == (widths, depths, patch)), None)
    named = None if told.arch is None else arch_of(told.arch).geometry
    if isinstance(named, PitGeometry) and named.widths == widths:
        known = named
    heads, notes = told.heads, ()
    if heads is None and known is not None:
        heads = known.heads
    if heads is None:
        heads = _usual_heads(widths)
        notes = (
            "The file does not say how many attention heads its blocks have; read with "
            f"{', '.join(map(str, heads))} from stage to stage, more where it is wider, as in every PiT. If that is "
            "wrong, so are all answers: name them with --heads, or timm's model with --arch.",
        )
    if len(heads) != len(widths) or any(width % count for width, count in zip(widths, heads, strict=True)):
        raise InputError(
            f"{shown(path)} has stages of {', '.join(map(str, widths))} channels, which {', '.join(map(str, heads))} "
            "heads do not divide; name a number for each stage with --heads."
        )
    prefix = state["cls_token"].shape[1]
    stride = known.stride if known else max(1, patch // 2)
    size = stride * (rows - 1) + patch
    if known is None:
        notes += (
            f"The file does not say how far its patches overlap; read with steps of half a patch, {stride} pixels, as "
            f"in every PiT, for {size} x {size} pixels. If that is wrong, name timm's model with --arch.",
        )
    if told.asked_size not in (None, size):
        raise InputError(f"{shown(path)} has positions for {size} pixels; omit --img-size.")
    return PitGeometry(
        img_size=size,
        patch=patch,
        stride=stride,
        widths=widths,
        depths=depths,
        heads=tuple(heads),
        ffn_ratio=len(state["transformers.0.blocks.0.mlp.fc1.weight"]) // widths[0],
        classes=len(state["head.weight"]),
        prefix_tokens=prefix,
        distilled="head_dist.weight" in state,
    ), notes


def _usual_heads(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Heads of about 48 channels in the first stage, and as many channels in the others."""
    first = max(1, round(widths[0] / HEAD_WIDTH))
    while widths[0] % first:
        first -= 1
    return tuple(max(1, width * first // widths[0]) for width in widths)
