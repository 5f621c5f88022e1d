"""Parameters in closed form: every geometry and every way to prune it, against the modules that are really built."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from core.costs.deit import DeitGeometry
from core.costs.gap import GAP
from core.costs.geometry import Geometry
from core.costs.lvvit import LVVIT
from core.costs.macs import count_macs
from core.costs.params import count_params
from core.costs.pit import PIT
from core.costs.swin import SWIN
from core.families.families import FAMILIES, family_of_timm
from core.models.registry import TIMM_NAMES, timm_geometry
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.soft_tokens.model import SoftTokenViT
from tests import lvvit as lvvit_models
from tests.joint import MIXED, joint_model
from tests.tiny import TINY, single_path_model
from tests.tiny_gap import TINY_GAP
from tests.tiny_latent import TINY_LATENT
from tests.tiny_pit import TINY_PIT
from tests.tiny_swin import SWIN as TINY_SWIN
from tests.tiny_swin import swin_path_model

PLAIN = DeitGeometry(32, 8, 64, 3, 2, 96, 5)
DENSE: dict[str, Geometry] = {
    "deit": PLAIN,
    "deit, a stem of convolutions": TINY,
    "deit, distilled": replace(PLAIN, prefix_tokens=2, distilled=True),
    "swin": TINY_SWIN,
    "pit": TINY_PIT,
    "pit, distilled": replace(TINY_PIT, prefix_tokens=2, distilled=True),
    "gap": TINY_GAP,
    "latent": TINY_LATENT,
    "gap, a norm of each token": replace(TINY_GAP, prefix_tokens=0, norm_first=True),
    "lvvit": lvvit_models.TINY,
    "lvvit, qkv with bias": replace(lvvit_models.TINY, qkv_bias=True),
    "lvvit, no auxiliary head": replace(lvvit_models.TINY, aux_head=False),
    **{name: geometry for known in (GAP, SWIN, PIT, LVVIT) for name, geometry in known.items()},
}
BUILD: dict[type, Callable[..., nn.Module]] = {module.GEOMETRY: module.build for module in FAMILIES.values()}


def held(model: nn.Module) -> int:
    """Parameters that a module holds."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_family_is_among_the_dense_ones() -> None:
    assert {type(geometry) for geometry in DENSE.values()} == set(BUILD)


@pytest.mark.parametrize("name", DENSE)
def test_a_dense_model_holds_as_many_as_are_counted(name) -> None:
    with torch.device("meta"):
        model = BUILD[type(DENSE[name])](DENSE[name])
    found = count_params(DENSE[name])
    assert found.stored == found.compact == held(model)


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_every_model_of_timm_that_is_listed_holds_as_many_as_are_counted(name) -> None:
    """But for some in 10,000, which LayerScale, CLIP's first norm and positions of class tokens make."""
    with torch.device("meta"):
        found = held(family_of_timm(name).from_timm(name))
    exact = not name.startswith("deit3_") and "_clip_" not in name
    assert count_params(timm_geometry(name)).stored == pytest.approx(found, rel=0 if exact else 1e-3)


def test_lvvit_small_is_the_published_size() -> None:
    assert round(count_params(LVVIT["lvvit_s"]).stored / 1e6, 2) == 26.15  # Jiang et al., arXiv:2104.10858: 26 M


@pytest.mark.parametrize(
    ("model", "geometry"),
    [(single_path_model(1), TINY), (swin_path_model(3), TINY_SWIN)],
    ids=["deit", "swin"],
)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9, 1.0])
def test_a_compact_model_holds_as_many_as_are_counted(model: SinglePathViT, geometry, share) -> None:
    chosen = derive(gates_of(model, geometry), share * count_macs(geometry).total)
    found = count_params(geometry, mixers=chosen.mixers, ffn_hidden=chosen.ffn_hidden)
    assert found.compact == held(compact(model, chosen))


@pytest.mark.parametrize(
    ("geometry", "blocks"),
    [
        (PLAIN, (1, 2)),
        (replace(PLAIN, prefix_tokens=2, distilled=True), (2,)),
        (replace(PLAIN, heads=1), (1,)),
        (lvvit_models.TINY, (1, 2, 3)),
        (TINY_PIT, (1, 3, 5, 7)),
    ],
    ids=["deit", "deit, distilled", "deit, one head", "lvvit", "pit"],
)
def test_a_model_with_selectors_holds_as_many_as_are_counted(geometry, blocks) -> None:
    model = SoftTokenViT(BUILD[type(geometry)](geometry), blocks)
    assert count_params(geometry, selectors=blocks).stored == held(model)


def test_a_joint_model_holds_as_many_as_are_counted() -> None:
    model, made = joint_model(*MIXED)
    assert {"msa", "conv3x3", "conv1x1"} <= set(made.mixers)
    found = count_params(TINY, mixers=made.mixers, ffn_hidden=made.ffn_hidden, selectors=model.blocks)
    assert found.compact == held(model)


def test_a_geometry_made_of_another_familys_is_an_error_and_not_counted_as_that() -> None:
    with pytest.raises(TypeError, match="Unknown is made of another family's geometry"):

        class Unknown(DeitGeometry):
            pass


@pytest.mark.parametrize("missing", ["blocks", "overhead", "overhead_params", "bias_params", "grid", "block_grids"])
def test_a_geometry_that_leaves_a_question_open_cannot_be_made(missing) -> None:
    answers = {name: value for name, value in vars(DeitGeometry).items() if name != missing and name[:2] != "__"}
    with pytest.raises(TypeError, match=missing):
        type("Open", (Geometry,), answers)()


@pytest.mark.parametrize("name", DENSE)
def test_what_follows_from_the_blocks_is_the_same_in_every_family(name) -> None:
    geometry = DENSE[name]
    blocks, cells = geometry.blocks(), [rows * cols for rows, cols in geometry.block_grids]
    assert len(blocks) == geometry.depth
    assert [block.patches for block in blocks] == cells
    assert [block.tokens for block in blocks] == [geometry.prefix_tokens + patches for patches in cells]
    assert geometry.patches == cells[0]
    assert geometry.ffn_widths == tuple(block.ffn for block in blocks)
