"""Attribution: against captum's own call, sums worked out with autograd, and rollouts multiplied by hand."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from PIL import Image
from torch import nn

from core.config import ModelSpec
from core.errors import InputError
from core.families import deit
from core.families.block import class_look, looks
from core.inference.attribution import attribute, class_rollout, freeze_selection, integrated_gradients, occlusion
from core.inference.rollout import merges_of, rollout
from core.models.load import Loaded
from core.photos.image import to_tensor
from core.results.attributions import Attribution
from core.single_path.compact import carve
from core.soft_tokens.decide import own_decision
from core.soft_tokens.stages import Stage
from tests.tiny import CARD, TINY, backbone, images, token_model

PHOTO = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 40, 3), dtype=np.uint8))


def loaded(model: nn.Module) -> Loaded:
    return Loaded(ModelSpec("tiny"), CARD, model.requires_grad_(False), None, None, 1, 1)


@pytest.mark.slow
def test_captum_is_imported_only_when_something_is_attributed() -> None:
    code = "import sys, core.inference.attribution; assert not {'captum', 'streamlit'} & sys.modules.keys()"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_gradients_of_a_plain_model_are_captums_own_summed_over_the_width() -> None:
    model, photo = backbone(), to_tensor(PHOTO, CARD)
    own = LayerIntegratedGradients(model, model.patch_embed).attribute(photo, torch.zeros_like(photo), 2, n_steps=32)
    found = attribute(loaded(model), PHOTO, 2, "gradients")
    np.testing.assert_allclose(found.values, own[0].sum(-1).detach().reshape(4, 4), atol=1e-6)


def test_gradients_are_the_integral_along_the_straight_path_between_the_embedded_patches() -> None:
    model, photo = backbone(), images(1, seed=5)
    with torch.no_grad():
        end, start = model.patch_embed(photo), model.patch_embed(torch.zeros_like(photo))

    def rest(patches: torch.Tensor) -> torch.Tensor:
        x = model.norm_pre(model._pos_embed(patches))
        return model.forward_head(model.norm(model.blocks(x)))[:, 1]

    total = torch.zeros_like(end)
    for step in range(200):  # midpoint rule
        point = (start + (end - start) * (step + 0.5) / 200).requires_grad_()
        total += torch.autograd.grad(rest(point).sum(), point)[0] / 200
    values, _, _ = integrated_gradients(model, photo, 1)
    torch.testing.assert_close(values, ((end - start) * total)[0].sum(-1).detach(), atol=2e-4, rtol=0)


def test_gradients_of_a_dense_model_add_up_to_the_rise_of_the_logit_within_the_error_that_they_report() -> None:
    model, photo = backbone(), to_tensor(PHOTO, CARD)
    found = attribute(loaded(model), PHOTO, 0, "gradients")
    with torch.no_grad():
        rise = float(model(photo)[0, 0] - model(torch.zeros_like(photo))[0, 0])
    assert found.rise == pytest.approx(rise, abs=1e-5)
    assert found.values.sum() - rise == pytest.approx(found.delta, abs=1e-5)
    assert found.error_share < 0.001


def test_gradients_converge_through_a_selection_only_when_it_is_frozen() -> None:
    shares = {}
    for state in ("free", "frozen"):
        model, photo = token_model(), images(1, seed=4)
        if state == "frozen":
            freeze_selection(model, photo)
        _, rise, delta = integrated_gradients(model, photo, 0)
        shares[state] = abs(delta / rise)
    assert shares["frozen"] < 0.02
    assert shares["free"] > 0.14


def test_frozen_selection_is_the_photos_own_and_is_said() -> None:
    model, photo = token_model(), images(1, seed=4)
    before, stages = model.run(photo)
    frozen = token_model()
    freeze_selection(frozen, photo)
    torch.testing.assert_close(frozen(photo), before)
    kept_of_another = frozen.run(images(2, seed=9))[1]
    for stage, own in zip(kept_of_another, stages, strict=True):
        assert (stage.kept == own.kept).all()
    assert attribute(loaded(model), PHOTO, 0, "gradients").frozen_selectors == 3
    assert attribute(loaded(model), PHOTO, 0, "rollout").frozen_selectors == 0  # the photo alone, nothing to hold
    assert attribute(loaded(backbone()), PHOTO, 0, "gradients").frozen_selectors == 0


@pytest.mark.parametrize("make", [backbone, token_model])
def test_occlusion_is_what_the_logit_loses_when_one_patch_turns_grey(make) -> None:
    model, photo = make(), images(1, seed=7)
    if make is token_model:
        freeze_selection(model, photo)
    with torch.no_grad():
        for row, column in ((0, 0), (2, 3)):
            covered = photo.clone()
            covered[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
            lost = float(model(photo)[0, 1] - model(covered)[0, 1])
            assert float(occlusion(model, photo, 1, 8)[4 * row + column]) == pytest.approx(lost, abs=1e-5)


def test_rollout_of_two_blocks_is_the_product_worked_out_by_hand() -> None:
    a = torch.tensor([[0.5, 0.5], [0.0, 1.0]])  # (a + I) / 2 = [[0.75, 0.25], [0, 1]]
    b = torch.tensor([[0.2, 0.8], [1.0, 0.0]])  # (b + I) / 2 = [[0.6, 0.4], [0.5, 0.5]]
    expected = torch.tensor([[0.45, 0.55], [0.375, 0.625]], dtype=torch.float64)
    torch.testing.assert_close(rollout([a, b], {}, 2), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(rollout([a, None, b], {}, 2), expected, atol=1e-6, rtol=0)


def test_rollout_gives_a_packages_share_to_the_patches_in_it() -> None:
    # Class token and three patches; the selector keeps the last and folds the others, 1 to 3, into a package.
    merge = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1], [0, 0.25, 0.75, 0]])
    attention = torch.tensor([[0.0, 0.2, 0.8], [0, 1, 0], [0, 0, 1]])
    reach = rollout([None, attention], {1: merge}, 4)
    # (A + I) / 2 in the first row: 0.5, 0.1, 0.4; the package's 0.4 is split as 0.1 and 0.3
    torch.testing.assert_close(reach[0], torch.tensor([0.5, 0.1, 0.3, 0.1], dtype=torch.float64), atol=1e-6, rtol=0)


def test_merge_keeps_the_order_of_tokens_and_weighs_the_package() -> None:
    def stage(kept: list[bool], weight: list[float]) -> Stage:
        some = torch.tensor([any(weight)])
        return Stage(torch.tensor([kept]), torch.ones(1, 3), torch.tensor([weight]), some, some, some)

    first = stage([True, False, True], [0.0, 2.0, 0.0])
    second = stage([True, False, False], [0.0, 0.0, 0.5])
    found = merges_of((1, 2), (first, second), prefix=1)
    torch.testing.assert_close(found[1], torch.eye(4)[[0, 1, 3, 2]].double())  # class, patches 0 and 2, package of 1
    torch.testing.assert_close(found[2], torch.eye(4)[[0, 1, 3, 2]].double())  # class, patch 0, old package, new one
    assert (
        rollout([None, None, torch.eye(4)], found, 4)[2] == torch.tensor([0, 0, 1, 0])
    ).all()  # old package: patch 1


def test_a_package_of_nothing_is_made_of_no_patch_and_takes_what_is_attended_to_it_out_of_the_sum() -> None:
    yes, none = torch.tensor([True]), torch.zeros(1, 2)
    empty = Stage(torch.tensor([[True, True]]), torch.ones(1, 2), none, yes, yes, yes)  # kept all, and a package
    found = merges_of((1,), (empty,), prefix=1)
    torch.testing.assert_close(found[1], torch.cat((torch.eye(3), torch.zeros(1, 3))).double())
    attention = torch.tensor([[0.0, 0.2, 0.2, 0.6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    reach = rollout([None, attention], found, 3)
    # (A + I) / 2 in the first row: 0.5, 0.1, 0.1 and 0.3, which is lost
    torch.testing.assert_close(reach[0], torch.tensor([0.5, 0.1, 0.1], dtype=torch.float64), atol=1e-6, rtol=0)


def test_rollout_of_a_model_that_sums_its_packages_stays_a_number_where_nothing_is_dropped() -> None:
    model, photo = token_model(), images(1)
    model.packaging = "weighted_sum"
    model.decide = lambda stage, scores, alive: alive
    assert model.run(photo)[1][0].has_package.all()
    values, _ = class_rollout(model, photo)
    assert values.isfinite().all()
    assert 0 < float(values.sum()) < 1


def test_attention_is_what_timm_computes_when_it_does_not_fuse() -> None:
    attn, x = backbone().blocks[0].attn, torch.randn(2, 5, 32)
    attn.fused_attn, seen = False, []
    attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    attn(x)
    torch.testing.assert_close(looks(attn, x), seen[0])
    torch.testing.assert_close(class_look(attn, x, 1), seen[0][:, :, 0, 1:].mean(1))


def test_rollout_of_a_model_is_the_product_of_its_attentions() -> None:
    model, photo = backbone(), images(1)
    reach, seen = torch.eye(17), []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(args[0][0].mean(0)))
    model(photo)
    for attention in seen:
        reach = (0.5 * attention + 0.5 * torch.eye(17)) @ reach
    values, passed = class_rollout(model, photo)
    assert passed == ()
    torch.testing.assert_close(values.float(), reach[0, 1:], atol=1e-5, rtol=0)


def test_rollout_through_selectors_loses_nothing_and_through_all_kept_is_the_backbones_own() -> None:
    model, photo = token_model(), images(1, seed=4)
    values, _ = class_rollout(model, photo)
    kept = model.run(photo)[1][-1].kept[0]
    assert not kept.all()
    assert (values > 0).all()  # what left lives on in packages
    assert 0 < float(values.sum()) < 1  # the rest is the class token's own
    model.decide = lambda stage, scores, alive: alive
    torch.testing.assert_close(class_rollout(model, photo)[0], class_rollout(model.backbone, photo)[0])


def test_rollout_passes_over_blocks_that_are_no_attention_and_needs_one_that_is() -> None:
    mixed = carve(backbone(), ("conv3x3", "msa", "skip", "msa"), (64,) * 4).eval()
    assert attribute(loaded(mixed), PHOTO, 0, "rollout").passed_over == (0, 2)
    none = carve(backbone(), ("conv3x3", "conv1x1", "skip", "conv3x3"), (64,) * 4).eval()
    with pytest.raises(InputError, match="No block of tiny is an attention"):
        attribute(loaded(none), PHOTO, 0, "rollout")
    assert attribute(loaded(none), PHOTO, 0, "gradients").error_share < 0.01


def test_rollout_of_a_distilled_model_is_the_mean_of_its_two_class_tokens() -> None:
    torch.manual_seed(0)
    model = deit.build(dataclasses.replace(TINY, prefix_tokens=2, distilled=True)).eval()
    seen = []
    for block in model.blocks:
        block.attn.register_forward_pre_hook(lambda attn, args: seen.append(looks(attn, args[0])[0].mean(0)))
    with torch.no_grad():
        model(images(1))
        reach = rollout(seen, {}, 18)
    values, _ = class_rollout(model, images(1))
    torch.testing.assert_close(values, reach[:2, 2:].mean(0).detach())


@pytest.mark.parametrize("method", ["gradients", "occlusion", "rollout"])
def test_attribution_leaves_the_shared_model_as_it_was(method: str) -> None:
    model = token_model()
    before = {key: values.clone() for key, values in model.state_dict().items()}
    attribute(loaded(model), PHOTO, 1, method)
    assert model.decide is own_decision
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert all(torch.equal(before[key], values) for key, values in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_wrong_input_is_refused_by_sentence() -> None:
    with pytest.raises(InputError, match="no attribution magic"):
        attribute(loaded(backbone()), PHOTO, 0, "magic")
    with pytest.raises(InputError, match="classes 0 to 2, not 3"):
        attribute(loaded(backbone()), PHOTO, 3, "occlusion")
    with pytest.raises(ValueError, match="class 1"):
        Attribution(np.zeros((2, 2)), "rollout", 1)
    with pytest.raises(ValueError, match="convergence error"):
        Attribution(np.zeros((2, 2)), "gradients", 1)
