"""The package token."""

import pytest
import torch

from core.soft_tokens.package import package_token

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
