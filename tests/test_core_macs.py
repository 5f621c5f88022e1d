"""MACs: hand-worked figures, published figures, and torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.costs.deit import DeitGeometry, embedding_macs
from core.costs.macs import attention_macs, convolution_macs, count_macs, selector_macs
from core.families import deit
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from tests.tiny import TINY, backbone, images, single_path_model

DEIT_T = DeitGeometry(224, 16, 192, 12, 3, 768, 1000)
DEIT_S = DeitGeometry(224, 16, 384, 12, 6, 1536, 1000)
DEIT_B = DeitGeometry(224, 16, 768, 12, 12, 3072, 1000)
CONV1, CONV3, MSA = "conv1x1", "conv3x3", "msa"


def counted(model: torch.nn.Module, batch: torch.Tensor) -> float:
    """MACs by torch's counter, which counts two per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / 2


def test_attention_of_two_tokens_and_width_three_is_worked_out_by_hand() -> None:
    assert attention_macs(2, 3) == 4 * 2 * 9 + 2 * 4 * 3  # 72 + 24


def test_convolution_of_four_patches_is_worked_out_by_hand() -> None:
    assert convolution_macs(4, 6, 2, 3) == 4 * 9 * 6 * 3 + 4 * 3 * 6  # in: 648, out: 72
    assert convolution_macs(4, 6, 2, 1) == 4 * 6 * 3 + 4 * 3 * 6


def test_stem_of_two_layers_is_worked_out_by_hand() -> None:
    small = DeitGeometry(8, 4, 8, 1, 1, 8, 2, stem=(4, 8))
    assert embedding_macs(small) == 16 * 9 * 3 * 4 + 4 * 9 * 4 * 8


def test_dense_deit_tiny_is_the_published_count() -> None:
    assert count_macs(DEIT_T).total == 1_253_683_200


@pytest.mark.parametrize(
    ("geometry", "mixers", "ffn_hidden", "published"),
    [
        (DEIT_T, [CONV1] * 2 + [MSA] * 10, [744, 758, 764, 767, 766, 764, 756, 659, 633, 473, 179, 145], 1038642432),
        (
            DEIT_S,
            [CONV1] + [MSA] * 11,
            [1304, 1399, 1344, 1214, 1251, 1183, 1140, 925, 742, 391, 104, 103],
            3353213184,
        ),
        (
            DEIT_B,
            [CONV1] * 3 + [CONV3] * 2 + [MSA] * 7,
            [1118, 489, 1050, 1345, 1336, 1326, 1431, 1564, 1606, 1702, 1290, 190],
            8409142272,
        ),
    ],
)
def test_published_single_path_architectures_have_their_count(geometry, mixers, ffn_hidden, published) -> None:
    assert count_macs(geometry, mixers=mixers, ffn_hidden=ffn_hidden).total == published


@pytest.mark.parametrize("geometry", [TINY, DeitGeometry(64, 16, 64, 3, 4, 128, 7)])
def test_dense_count_is_torchs(geometry) -> None:
    model = deit.build(geometry).eval()
    batch = torch.zeros(1, 3, geometry.img_size, geometry.img_size)
    assert counted(model, batch) == count_macs(geometry).total


def test_distilled_deit_counts_both_heads_as_torch_does() -> None:
    geometry = DeitGeometry(32, 8, 64, 2, 1, 128, 5, prefix_tokens=2, distilled=True)
    assert counted(deit.build(geometry).eval(), torch.zeros(1, 3, 32, 32)) == count_macs(geometry).total


@pytest.mark.parametrize("share", [0.9, 0.6, 0.3])
def test_compact_model_costs_what_its_architecture_says(share) -> None:
    model = single_path_model()
    architecture = derive(gates_of(model, TINY), share * count_macs(TINY).total)
    assert counted(compact(model, architecture), images(1)) == architecture.macs


def test_selector_of_deit_tiny_is_worked_out_by_hand() -> None:
    per_head = 64 * 64 + 64 * 32 + 32 * 16 + 16 * 2
    assert selector_macs(196, 192, 3) == 196 * (3 * per_head + 3 * 1 + 1 * 3)


def test_parts_add_up() -> None:
    count = count_macs(TINY)
    assert count.total == counted(backbone(), images(1))
    assert count.convolution == count.selectors == 0
