"""Engines that compute in fewer bits: what they round, and how far answers move, against NumPy by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import InputError
from core.inference.rounding import rounding
from core.latency import engines
from core.models.class_lists import ClassName
from core.results import Prediction
from core.results.timings import BF16, INT8, ROUNDED, Rounding
from core.soft_tokens.fixed import FixedKeepViT
from tests import tiny
from viz.cost import rounding_text


class OneLayer(nn.Module):
    """Four channels to two."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.27, -0.4, 0.013, 0.6], [0.02, 0.0254, -0.0071, 0.0033]]))
            self.layer.bias.copy_(torch.tensor([0.25, -0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_int8_rounds_weights_by_the_channel_and_inputs_by_their_own_range() -> None:
    x = torch.tensor([[0.0, 2.55, -0.013, 1.006], [0.502, 0.1, 0.31, 2.1]])
    model = OneLayer().eval()
    weight, bias = model.layer.weight.detach().numpy(), model.layer.bias.detach().numpy()
    step = np.abs(weight).max(axis=1, keepdims=True) / 127.5  # symmetric, as onnxruntime spreads -127.5 to 127.5
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.rint(x.numpy() / scale) + zero, 0, 255) - zero
    found = engines.prepare(model, INT8, x)(x).numpy()
    candidates = [
        codes * scale @ (np.rint(weight / one) * one).T + bias
        for one in (step, np.abs(weight).max(axis=1, keepdims=True) / 127)
    ]
    assert min(np.abs(found - wanted).max() for wanted in candidates) < 1e-5
    assert np.abs(found - model(x).detach().numpy()).max() > 1e-4  # rounded it is


@torch.inference_mode()
def test_a_vit_answers_in_fewer_bits_nearly_as_in_float32() -> None:
    model, photo = tiny.backbone().eval(), tiny.images(1)
    for engine in ROUNDED:
        if engine == BF16 and not _computes_bf16():
            continue
        answer = engines.prepare(model, engine, photo)(photo)
        torch.testing.assert_close(answer, model(photo), atol=0.05, rtol=0.05)
        assert not torch.equal(answer, model(photo))


@torch.inference_mode()
def test_a_model_with_selectors_answers_in_int8_though_each_head_has_a_matrix_of_its_own() -> None:
    fixed = FixedKeepViT(tiny.token_model().eval(), (0.7, 0.5, 0.3))
    for photos in (tiny.images(1), tiny.images(2)):
        found = engines.prepare(fixed, INT8, photos)(photos)
        torch.testing.assert_close(found, fixed(photos), atol=0.1, rtol=0.1)
        assert not torch.equal(found, fixed(photos))


def test_a_processor_without_bf16_is_named_with_what_works(monkeypatch) -> None:
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(InputError, match="does not compute in bf16; choose openvino or onnxruntime-int8"):
        engines.prepare(tiny.backbone().eval(), BF16, tiny.images(1))


def test_a_rounding_says_whether_the_answer_stayed_and_how_far_a_probability_moved() -> None:
    classes = (ClassName(None, "cat"), ClassName(None, "dog"))
    exact, other = (Prediction(np.array(p), classes) for p in ([0.6, 0.4], [0.45, 0.55]))
    assert rounding(exact, exact) == Rounding("cat", True, 0.0)
    moved = rounding(exact, other)
    assert (moved.first, moved.same) == ("cat", False)
    assert moved.largest == pytest.approx(0.15)
    said = "Same first answer as in float32 on 1 of 2 sample pictures; probabilities differ by up to 15.0 points."
    assert rounding_text((moved, rounding(exact, exact))).strip() == said
    assert rounding_text(()) == ""


def _computes_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
