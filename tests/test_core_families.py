"""What every family answers, on a tiny model of each."""

from dataclasses import replace

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from torch import nn

from core.costs.deit import DeitGeometry
from core.families import deit, pit
from core.families.base import Family, FlatFamily, PooledFamily
from core.families.families import FAMILIES, family_of, flat_family, layout_of, pooled_family
from tests import lvvit as lvvit_models
from tests.tiny import TINY
from tests.tiny_gap import TINY_GAP
from tests.tiny_latent import TINY_LATENT
from tests.tiny_pit import TINY_PIT
from tests.tiny_swin import SWIN

GEOMETRIES = {
    "deit": TINY,
    "lvvit": lvvit_models.TINY,
    "swin": SWIN,
    "pit": TINY_PIT,
    "gap": TINY_GAP,
    "latent": TINY_LATENT,
}
CONTRACTS = {"flat": FlatFamily, "pooled": PooledFamily, "windows": Family}
NAMES = sorted(FAMILIES)


def built(name: str, **other: int) -> nn.Module:
    torch.manual_seed(0)
    return FAMILIES[name].build(replace(GEOMETRIES[name], **other)).eval()


def images(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_there_is_a_tiny_model_of_every_family() -> None:
    assert set(GEOMETRIES) == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_answers_every_question_of_its_contract(name) -> None:
    family = FAMILIES[name]
    contract = CONTRACTS[family.LAYOUT]
    questions = {each for kept in contract.__mro__ for each in vars(kept) if not each.startswith("_")}
    assert {"build", "walk", "LAYOUT"} <= questions
    assert [each for each in sorted(questions) if not hasattr(family, each)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_of_the_family_that_built_it(name) -> None:
    model = built(name)
    assert family_of(model) is FAMILIES[name]
    assert layout_of(model) == FAMILIES[name].LAYOUT


def test_a_model_of_a_class_made_of_a_familys_is_of_that_family() -> None:
    distilled = deit.build(DeitGeometry(32, 8, 32, 2, 2, 64, 3, prefix_tokens=2, distilled=True))
    assert type(distilled) is VisionTransformerDistilled
    assert family_of(distilled) is deit


def test_a_module_of_no_family_is_refused() -> None:
    assert layout_of(nn.Linear(2, 2)) is None
    with pytest.raises(ValueError, match="a Linear is of no family"):
        family_of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="a SwinTransformer is windows, not flat"):
        flat_family(built("swin"))
    with pytest.raises(ValueError, match="a LVViT is flat, not pooled"):
        pooled_family(built("lvvit"))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_walking_through_the_blocks_as_they_are_is_timms_forward(name) -> None:
    model, seen = built(name), []

    def step(index: int, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.append((index, block))
        return block(x)

    assert torch.equal(FAMILIES[name].walk(model, images(), step), model(images()))
    assert seen == list(enumerate(FAMILIES[name].blocks_of(model)))


@pytest.mark.parametrize("name", NAMES)
def test_stages_hold_all_blocks_on_the_grids_and_of_the_shapes_of_the_geometry(name) -> None:
    family, model, geometry = FAMILIES[name], built(name), GEOMETRIES[name]
    blocks = family.blocks_of(model)
    assert [block for stage in family.stages_of(model) for block in stage.blocks] == blocks
    assert tuple(family.grids_of(model)) == geometry.block_grids
    found = [(b.attn.qkv.in_features, b.attn.num_heads, b.mlp.fc1.out_features) for b in blocks]
    assert found == [(shape.width, shape.heads, shape.ffn) for shape in geometry.blocks()]
    assert family.geometry_of(model) == geometry


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_embedded_patches_are_counted_row_by_row(name) -> None:
    family, model = FAMILIES[name], built(name)
    (rows, cols), photo = GEOMETRIES[name].grid, torch.zeros(1, 3, 32, 32)
    grey = family.as_patches(model.patch_embed(photo))[0]
    photo[..., -2:, :2] = 9.0  # the lower left corner
    changed = (family.as_patches(model.patch_embed(photo))[0] != grey).any(dim=1)
    assert changed.shape == (rows * cols,)
    assert changed[(rows - 1) * cols]
    assert not changed[:cols].any()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_what_a_view_takes_apart_it_puts_together_again(name) -> None:
    family, model, seen = FAMILIES[name], built(name), []
    views = family.views_of(model, passes=True)

    def step(index: int, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.append(views[index].maps(x).shape[-2:])
        assert torch.equal(views[index].back(views[index].maps(x), x), x)
        return block(x)

    family.walk(model, images(), step)
    assert [tuple(shape) for shape in seen] == list(GEOMETRIES[name].block_grids)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_taken_over_into_other_classes_and_pixels(name) -> None:
    larger = {"deit": 48, "lvvit": 48, "swin": 64, "pit": 48, "gap": 48, "latent": 48}[name]
    before, after = built(name), built(name, classes=4, img_size=larger)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(1.0)
    fresh = {key: value.clone() for key, value in after.state_dict().items()}
    FAMILIES[name].take_over(after, before, [2, None, 0, 1])
    old, new = before.state_dict(), after.state_dict()
    (head,) = [key for key in new if key in ("head.weight", "head.fc.weight")]
    assert torch.equal(new[head][[0, 2, 3]], old[head][[2, 0, 1]])
    assert torch.equal(new[head][1], fresh[head][1])
    kept = [key for key in new if key.endswith(("qkv.weight", "mlp.fc1.bias")) and "blocks." in key]
    assert len(kept) == 2 * GEOMETRIES[name].depth
    assert all(torch.equal(new[key], old[key]) for key in kept)
    assert after(images(larger)).shape == (2, 4)


def test_positions_of_a_pit_are_resampled_as_a_map() -> None:
    before, after = built("pit"), built("pit", img_size=48)
    with torch.no_grad():
        before.pos_embed.copy_(torch.arange(7.0).expand_as(before.pos_embed))  # rises from left to right
    pit.take_over(after, before, [0, 1, 2])
    rows = after.pos_embed[0, 0]
    assert rows.shape == (11, 11)
    assert (rows[:, 1:] > rows[:, :-1]).all()
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))
