"""A compact Swin as a graph, which another program runs: the file answers as the model does."""

from dataclasses import replace

import pytest
import torch

from core.config import ModelSpec
from core.costs.swin import SwinGeometry
from core.families import swin
from core.models.cards import CompactCard
from core.models.export import export_model
from core.models.load import load
from core.models.weights import save_checkpoint
from core.single_path.compact import carve
from tests.tiny_swin import SWIN_CARD, images


@pytest.mark.slow
@pytest.mark.parametrize("in_windows", [False, True])
def test_a_compact_swin_can_be_a_graph(in_windows, tmp_path) -> None:
    geometry = SwinGeometry(8, (2,), (2,), img_size=32, patch=8, window=2, classes=3)
    mixers, hidden = ("msa", "conv3x3"), (4, 2)  # the second block's windows are shifted
    torch.manual_seed(0)
    plain = carve(swin.build(geometry), mixers, hidden, in_windows=in_windows)
    card = replace(SWIN_CARD, geometry=geometry, compact=CompactCard(mixers, hidden, in_windows=in_windows))
    save_checkpoint(tmp_path / "compact.safetensors", plain, card, half=False)
    loaded = load(ModelSpec(str(tmp_path / "compact.safetensors")))
    for written in export_model(loaded, tmp_path / "out", ["swin.onnx", "swin.pt2"], images(2)):
        assert (written.form, written.largest_difference < 1e-4) == ("compact", True)
