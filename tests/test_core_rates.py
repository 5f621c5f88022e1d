"""Rates in proportion to the weights: what is far smaller than usual learns slower, all else as before."""

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from core.training.rates import by_size


def two_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.constant_(model[0].weight, 0.002)  # root mean square 0.002: a fifth of 0.01
    nn.init.constant_(model[1].weight, -0.02)
    nn.init.constant_(model[0].bias, 0.0001)
    return model


def test_a_matrix_of_a_fifth_of_the_usual_size_learns_at_a_fifth_of_the_rate() -> None:
    model = two_layers()
    groups = by_size(model, [{"params": list(model.parameters()), "weight_decay": 0.1, "lr_scale": 0.5}])
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert {group["weight_decay"] for group in groups} == {0.1}
    assert scale[id(model[0].weight)] == pytest.approx(0.1)
    others = [model[0].bias, model[1].weight, model[1].bias]
    assert [scale[id(p)] for p in others] == [0.5] * 3
    assert len(scale) == 4


def test_adam_moves_each_matrix_by_the_same_share_of_itself_at_most() -> None:
    model = two_layers()
    optimizer = create_optimizer_v2(by_size(model, [{"params": list(model.parameters())}]), opt="adamw", lr=1e-4)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=10)
    scheduler.step(0)
    before = [layer.weight.detach().clone() for layer in model]
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    moved = [float(((layer.weight.detach() - old) / old).abs().max()) for layer, old in zip(model, before, strict=True)]
    torch.testing.assert_close(moved, [0.01, 0.005], rtol=0.01, atol=0.0)  # 1e-4 / 5 of 0.002; 1e-4 of 0.02


def test_a_layer_that_starts_at_zero_and_what_is_no_weight_of_a_layer_keep_their_rate() -> None:
    model = nn.Module()
    model.layer, model.mixing = nn.Linear(4, 4), nn.Parameter(torch.full((3, 3), 1e-4))
    nn.init.zeros_(model.layer.weight)
    (group,) = by_size(model, [{"params": list(model.parameters())}])
    assert "lr_scale" not in group
    assert len(group["params"]) == 3
