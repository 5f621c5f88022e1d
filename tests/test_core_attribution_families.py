"""Attribution of the families beside DeiT: gradients add up to the rise of the logit, occlusion is what is lost."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from core.config import ModelSpec, Normalisation
from core.families import lvvit as lvvit_family
from core.families import swin
from core.inference.attribution import attribute, freeze_selection, integrated_gradients
from core.models.cards import ModelCard
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results import ClassName
from core.single_path.compact import compact
from core.single_path.derive import gates_of, settled
from core.soft_tokens.model import SoftTokenViT
from tests import lvvit
from tests.tiny_pit import PIT_CARD, pit_backbone, pit_token_model
from tests.tiny_swin import SWIN, SWIN_CARD, swin_path_model

PHOTO = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 40, 3), dtype=np.uint8))
FIVE = tuple(ClassName("", str(i)) for i in range(5))
LVVIT_CARD = ModelCard(lvvit_family.FAMILY, lvvit.TINY, FIVE, Normalisation())


def pruned_swin() -> nn.Module:
    """As it runs in the app: the compact form of what its gates decide."""
    model = swin_path_model()
    return compact(model, settled(gates_of(model, SWIN))).eval()


FAMILIES = [
    pytest.param(lambda: swin.build(SWIN).eval(), SWIN_CARD, id="swin"),
    pytest.param(pruned_swin, SWIN_CARD, id="swin pruned"),
    pytest.param(pit_backbone, PIT_CARD, id="pit"),
    pytest.param(pit_token_model, PIT_CARD, id="pit with selectors"),
    pytest.param(lvvit.dense, LVVIT_CARD, id="lvvit"),
    pytest.param(lvvit.token_model, LVVIT_CARD, id="lvvit with selectors"),
]


@pytest.mark.parametrize(("make", "card"), FAMILIES)
def test_gradients_add_up_to_the_rise_of_the_logit(make: Callable[[], nn.Module], card: ModelCard) -> None:
    """Within the error that they report; the rise is between two plain forward passes with decisions held."""
    model, photo = make().requires_grad_(False), to_tensor(PHOTO, card)
    found = attribute(Loaded(ModelSpec("tiny"), card, model, None, None, 1, 1), PHOTO, 2, "gradients")
    if isinstance(model, SoftTokenViT):
        freeze_selection(model, photo)
    with torch.no_grad():
        rise = float(model(photo)[0, 2] - model(torch.zeros_like(photo))[0, 2])
    assert found.values.shape == card.geometry.grid
    assert found.rise == pytest.approx(rise, abs=1e-4)
    assert found.values.sum() - found.rise == pytest.approx(found.delta, abs=1e-3)
    assert np.abs(found.values).max() > 0


@pytest.mark.parametrize(("make", "card"), FAMILIES)
def test_more_steps_bring_gradients_closer_to_the_rise(make: Callable[[], nn.Module], card: ModelCard) -> None:
    """What is missing after 256 steps is within 2 % of what the patches moved."""
    model, photo = make().requires_grad_(False), to_tensor(PHOTO, card)
    if isinstance(model, SoftTokenViT):
        freeze_selection(model, photo)
    values, rise, delta = integrated_gradients(model, photo, 0, steps=256)
    assert abs(delta) <= 0.02 * float(values.abs().sum()) + 1e-3
    assert float(values.sum()) == pytest.approx(rise, abs=abs(delta) + 1e-3)


@pytest.mark.parametrize(("make", "card"), [case for case in FAMILIES if "pit" not in case.id])
def test_occlusion_is_what_the_logit_loses_when_one_patch_turns_grey(
    make: Callable[[], nn.Module], card: ModelCard
) -> None:
    """The last patch of the first row, of models whose patches do not overlap."""
    model, photo = make().requires_grad_(False), to_tensor(PHOTO, card)
    found = attribute(Loaded(ModelSpec("tiny"), card, model, None, None, 1, 1), PHOTO, 1, "occlusion")
    if isinstance(model, SoftTokenViT):
        freeze_selection(model, photo)
    covered, side = photo.clone(), card.geometry.patch
    covered[:, :, :side, -side:] = 0
    with torch.no_grad():
        lost = float(model(photo)[0, 1] - model(covered)[0, 1])
    assert found.values[0, -1] == pytest.approx(lost, abs=1e-4)
