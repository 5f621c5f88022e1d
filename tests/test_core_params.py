"""Parameters in closed form: every geometry and every way to prune it, against the modules that are really built."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import timm
import torch
from torch import nn

from core.backbones.families import FAMILIES
from core.config import Geometry
from core.lvvit_counts import LVVIT
from core.macs import block_prices, count_macs
from core.params import count_params
from core.pit_counts import PIT, PitGeometry
from core.registry import TIMM_NAMES, timm_geometry
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from core.single_path.model import SinglePathViT
from core.soft_tokens.model import SoftTokenViT
from core.swin_counts import SWIN, SwinGeometry
from tests import lvvit as lvvit_models
from tests.joint import MIXED, joint_model
from tests.tiny import TINY, single_path_model
from tests.tiny_pit import TINY_PIT
from tests.tiny_swin import SWIN as TINY_SWIN
from tests.tiny_swin import swin_path_model

PLAIN = Geometry(32, 8, 64, 3, 2, 96, 5)
DENSE: dict[str, Geometry | SwinGeometry | PitGeometry] = {
    "deit": PLAIN,
    "deit, a stem of convolutions": TINY,
    "deit, distilled": replace(PLAIN, prefix_tokens=2, distilled=True),
    "swin": TINY_SWIN,
    "pit": TINY_PIT,
    "pit, distilled": replace(TINY_PIT, prefix_tokens=2, distilled=True),
    "lvvit": lvvit_models.TINY,
    "lvvit, qkv with bias": replace(lvvit_models.TINY, qkv_bias=True),
    "lvvit, no auxiliary head": replace(lvvit_models.TINY, aux_head=False),
    **{name: geometry for known in (SWIN, PIT, LVVIT) for name, geometry in known.items()},
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
    with torch.device("meta"):
        assert count_params(timm_geometry(name)).stored == held(timm.create_model(name))


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


@dataclass(frozen=True)
class Unknown(Geometry):
    """Made of a flat one, as an LV-ViT's is, and nobody has said what it costs."""


@pytest.mark.parametrize("count", [count_params, count_macs, block_prices])
@pytest.mark.parametrize("geometry", [Unknown(32, 8, 64, 3, 2, 96, 5), "a word"])
def test_a_geometry_that_nobody_has_counted_is_an_error_and_no_deit(count, geometry) -> None:
    with pytest.raises(TypeError, match=f"of a {type(geometry).__name__} are not counted here"):
        count(geometry)
