"""One block read out of a single-path model: by the convolution that runs, and by counts worked out by hand."""

import numpy as np
import torch

from core.single_path.blocks import block_count, read_block
from core.single_path.compact import ConvMixer, fill_conv
from tests.tiny import TINY, single_path_model


def test_reading_is_the_kernel_that_the_compact_form_runs() -> None:
    model = single_path_model()
    found = read_block(model, 1)
    path, attn = model.paths[1], model.backbone.blocks[1].attn
    d = attn.head_dim
    conv = ConvMixer(torch.nn.Conv2d(32, d, 3, padding=1), torch.nn.Conv2d(d, 32, 1), (4, 4))
    with torch.no_grad():
        path.bn_3x3.weight.copy_((path.bn_3x3.running_var + path.bn_3x3.eps).sqrt())  # folding then changes nothing
        fill_conv(conv, attn, path, "conv3x3", model.alpha)
    norms = conv.reduce.weight.detach().flatten(0, 1).norm(dim=0).numpy()  # (3, 3)
    np.testing.assert_allclose(found.kernel_norm, norms, rtol=1e-4)
    assert found.channels == d
    assert found.head_share.shape == (2, 3, 3)
    np.testing.assert_allclose(found.head_share.sum(axis=0), 1, atol=1e-6)


def test_block_counts_by_part() -> None:
    dense = block_count(TINY, 0, "msa", 64)  # 17 tokens of width 32
    assert dense.attention == 4 * 17 * 32**2 + 2 * 17**2 * 32
    assert dense.ffn == 2 * 17 * 32 * 64
    assert dense.total == dense.attention + dense.ffn
    narrow = block_count(TINY, 0, "conv3x3", 0)  # 16 patches, bottleneck of 16
    assert (narrow.attention, narrow.convolution, narrow.ffn) == (0, 10 * 16 * 32 * 16, 0)
    assert block_count(TINY, 0, "skip", 0).total == 0
