"""The precision of a training step."""

import pytest
import torch
from torch.nn import functional

from core.training.loop import make_accelerator
from core.training.precision import mixed_precision


def attend(q: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return functional.scaled_dot_product_attention(q, 0.5 * q, q, attn_mask=mask)


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, False], [True, True]]), torch.zeros(2, 2).bfloat16()])
def test_attention_in_bf16_on_a_cpu_is_computed_in_float32(mask):
    """The value is the float32 one, rounded once; and products stay in bf16, as autocast has them."""
    q = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    with mixed_precision(make_accelerator(torch.device("cpu"), "bf16")):
        found = attend(q, mask)
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    exact = attend(q.float(), mask if mask is None or mask.dtype == torch.bool else mask.float())
    assert found.dtype == product.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_the_backward_pass_is_float32s_too():
    """The gradient is the float32 one, rounded once."""
    q = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    exact = q.detach().float().requires_grad_()
    with mixed_precision(make_accelerator(torch.device("cpu"), "bf16")):
        found = functional.scaled_dot_product_attention(q, q.detach(), q.detach())
    found.sum().backward()
    functional.scaled_dot_product_attention(exact, exact.detach(), exact.detach()).sum().backward()
    torch.testing.assert_close(q.grad, exact.grad.bfloat16(), rtol=0, atol=0)


def test_without_bf16_nothing_is_changed():
    """In float32 the attention is torch's own."""
    q = torch.randn(1, 1, 2, 8)
    with mixed_precision(make_accelerator(torch.device("cpu"), "no")):
        assert torch.equal(attend(q, None), functional.scaled_dot_product_attention(q, 0.5 * q, q))
