"""The package token."""

import pytest
import torch

from core.families import deit
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.package import package_token
from tests.tiny import TINY, images, token_model

X = torch.tensor([[[1.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])  # (1, 3, 2)
SCORE = torch.tensor([[0.1, 0.3, 0.9]])


def test_package_token_is_the_score_weighted_mean_of_dropped_patches() -> None:
    token, exists, weight = package_token(X, SCORE, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(token, torch.tensor([[[0.25, 3.0]]]))
    torch.testing.assert_close(weight, torch.tensor([[0.25, 0.75, 0.0]]))
    assert exists.all()


def test_weighted_sum_does_not_divide() -> None:
    token, _, _ = package_token(X, SCORE, torch.tensor([[1.0, 1.0, 0.0]]), "weighted_sum")
    torch.testing.assert_close(token, torch.tensor([[[0.1, 1.2]]]))


def test_nothing_dropped_gives_no_package_and_finite_gradients() -> None:
    x, score = X.clone().requires_grad_(), SCORE.clone().requires_grad_()
    token, exists, _ = package_token(x, score, torch.zeros(1, 3))
    token.sum().backward()
    assert not exists.any()
    assert token.abs().sum() == 0
    assert x.grad.isfinite().all()
    assert score.grad.isfinite().all()


def test_a_keep_probability_of_nothing_gives_no_division_by_nothing() -> None:
    token, exists, weight = package_token(X, torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]]))
    assert exists.all()
    assert token.isfinite().all()
    assert weight.isfinite().all()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"score \(1, 2\)"):
        package_token(X, SCORE[:, :2], torch.zeros(1, 3))


@torch.inference_mode()
def test_without_packages_what_is_pruned_is_gone() -> None:
    """The later blocks on the class token and the kept patches alone give the same answer."""
    model, photos = token_model((2,)), images(2)
    kept = torch.rand(2, TINY.patches, generator=torch.Generator().manual_seed(0)) < 0.4
    found, _, (stage,) = masked_forward(
        model.backbone, model.by_block(), photos, lambda index, scores, alive: kept.float(), None
    )
    assert not stage.has_package.any()
    for logits, photo, own in zip(found, photos, kept, strict=True):
        x = model.backbone.blocks[:2](deit.embed(model.backbone, photo[None]))
        x = model.backbone.blocks[2:](torch.cat((x[:, :1], x[:, 1:][:, own]), dim=1))
        torch.testing.assert_close(logits[None], deit.classify(model.backbone, x), atol=1e-5, rtol=0)
