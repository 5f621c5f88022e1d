"""PiT's multiply-adds and parameters: published, by hand, and as torch counts them, dense and pruned."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.costs.macs import count_macs, package_macs, selector_macs
from core.costs.pit import PIT, PitGeometry, pooling_macs
from core.families import pit
from core.soft_tokens.decide import top_share
from core.soft_tokens.schedules import fit_keep, keep_powers, schedule_macs
from core.soft_tokens.stages import image_macs, tokens_per_block
from tests.tiny import images
from tests.tiny_pit import BLOCKS, TINY_PIT, pit_token_model

PATCHES = (49, 16, 16, 4)
KEEP = (0.7, 0.5, 0.2, 0.5)


def counted(run) -> float:
    """MACs by torch's counter, which counts two per multiply-add; with gradients on, or it fails on a PiT."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def test_dense_pit_small_is_the_published_count() -> None:
    assert round(count_macs(PIT["pit_s_224"]).total / 1e9, 2) == 2.87  # Heo et al., arXiv:2103.16302: 2.9 G
    assert PIT["pit_s_224"].grids == ((27, 27), (14, 14), (7, 7))


@pytest.mark.parametrize("distilled", [False, True])
def test_dense_count_is_torchs(distilled) -> None:
    geometry = PitGeometry(
        32, 8, 4, (16, 32, 64), (2, 4, 2), (2, 2, 4), 2, 3, prefix_tokens=1 + distilled, distilled=distilled
    )
    model = pit.build(geometry).eval()
    assert pit.geometry_of(model) == geometry
    assert counted(lambda: model(images(1))) == count_macs(geometry).total


def test_a_pooling_is_worked_out_by_hand() -> None:
    assert pooling_macs(3, 6, 4, 2) == 9 * 4 * 6 + 2 * 3 * 6


def test_pruned_count_is_torchs_but_for_packages_and_head_weights() -> None:
    """Torch's counter sees no matrix-vector product, which packages are, so those are left out here."""
    model, batch = pit_token_model(), images(1)
    decide = top_share(KEEP, PATCHES)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    _, stages = model.run(batch, decide)
    (found,) = image_macs(TINY_PIT, BLOCKS, stages)
    widths, heads = (16, 32, 32, 64), (2, 2, 2, 4)
    seen = [int(stage.seen) for stage in stages]
    assert seen == [49, 17, 9, 5]
    folding = sum(package_macs(n, w) for n, w in zip(seen, widths, strict=True))
    choosing = sum(selector_macs(n, w, h) for n, w, h in zip(seen, widths, heads, strict=True))
    assert found.selectors == folding + choosing
    assert tokens_per_block(TINY_PIT, BLOCKS, stages).tolist() == [[50, 37, 18, 10, 10, 6, 6, 4]]
    rest = counted(lambda: model.run(batch, decide))
    prefix = sum(_selecting_prefix(n, w, h) for n, w, h in zip(seen, widths, heads, strict=True))
    assert abs(rest - (found.total - folding + prefix)) < 0.02 * found.total


def _selecting_prefix(seen: int, width: int, heads: int) -> int:
    """The class token runs along through the selector, and its score is thrown away."""
    return selector_macs(seen + 1, width, heads) - selector_macs(seen, width, heads)


def test_a_schedule_costs_what_a_photo_costs_that_keeps_just_so_many() -> None:
    model = pit_token_model()
    _, stages = model.run(images(2), top_share(KEEP, PATCHES))
    assert {count.total for count in image_macs(TINY_PIT, BLOCKS, stages)} == {
        schedule_macs(TINY_PIT, BLOCKS, KEEP).total
    }


def test_powers_of_a_schedule_begin_anew_on_each_grid() -> None:
    assert keep_powers(0.5, PATCHES) == (0.5, 0.5, 0.25, 0.5)
    dense = count_macs(TINY_PIT).total
    keep = fit_keep(TINY_PIT, BLOCKS, 0.8 * dense)
    cost = schedule_macs(TINY_PIT, BLOCKS, keep).total
    assert 0.7 * dense < cost <= 0.8 * dense
