"""What windows that have lost cells cost: by hand, pair by pair, and as torch counts it."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.costs.macs import attention_macs, count_macs
from core.costs.windows import Windows, image_pairs, kept_pairs, masked_pairs, most_pairs, pairs_of
from core.soft_tokens.decide import top_share
from core.soft_tokens.schedules import schedule_macs
from core.soft_tokens.stages import image_macs, tokens_per_block
from tests.test_core_swin_tokens import PATCHES, images, literal
from tests.tiny_swin import TOKEN_BLOCKS, TOKEN_SWIN, swin_token_model

KEEP = (0.7, 0.5, 0.2, 0.5)


def counted(run) -> float:
    """MACs by torch's counter, which counts two per multiply-add; with gradients on, so that it sees attention."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def test_pairs_by_hand() -> None:
    assert pairs_of(np.array([3, 0, 2]), package=False) == 9 + 4  # the window that is empty costs nothing
    assert pairs_of(np.array([3, 0, 2]), package=True) == 9 + 4 + 5 + 6  # all see it; it sees all, and itself
    windows = Windows((4, 4), 2, 0)
    kept = np.zeros((2, 16), bool)
    kept[0, [0, 1, 4, 10]] = True  # three in the first window, one in the last
    kept[1, [0, 2, 8, 10]] = True  # one in each
    assert kept_pairs(windows, kept, np.array([False, False])).tolist() == [10, 4]
    assert most_pairs(windows, 6, 0) == 16 + 4
    assert most_pairs(Windows((4, 4), 2, 1), 5, 1) == 16 + 1 + 2 * 5 + 1
    assert masked_pairs(windows) == 16 * 5 + 17
    assert attention_macs(5, 8, pairs=7) == 4 * 5 * 64 + 2 * 7 * 8


def test_no_photo_costs_more_than_a_schedule_says() -> None:
    generator = np.random.default_rng(0)
    for windows in TOKEN_SWIN.windows():
        cells = windows.grid[0] * windows.grid[1]
        for count in (1, cells // 3, cells - 1, cells):
            kept = np.zeros((200, cells), bool)
            for row in kept:
                row[generator.permutation(cells)[:count]] = True
            assert kept_pairs(windows, kept, np.ones(200, bool)).max() <= most_pairs(windows, count, True)
            assert most_pairs(windows, cells, 0) == kept_pairs(windows, np.ones((1, cells), bool), np.array([False]))


@pytest.mark.parametrize("ranked", [False, True])
def test_pruned_count_is_torchs(ranked) -> None:
    """To the last multiply-add with rankings; selectors do a little less than their formula says, as a difference of
    two scores takes one product, and what is averaged over an image goes through a layer once."""
    model, batch = swin_token_model(ranked=ranked), images(1)
    decide = top_share(KEEP, PATCHES)
    _, stages = model.run(batch, decide)
    (found,) = image_macs(TOKEN_SWIN, TOKEN_BLOCKS, stages, model.layers)
    assert tokens_per_block(TOKEN_SWIN, TOKEN_BLOCKS, stages).tolist() == [[144, 102, 37, 19, 19, 9, 10, 6]]
    by_torch = counted(lambda: model.run(batch, decide))
    assert by_torch == found.total if ranked else 0 < found.total - by_torch < 0.1 * found.selectors


def test_pairs_are_those_that_a_slow_loop_looks_at() -> None:
    model, batch = swin_token_model((1, 3)), images(1, seed=4)
    with torch.no_grad():
        _, stages = model.run(batch, top_share((0.4, 0.5), PATCHES[:2]))
        _, pairs = literal(model, batch[0], [s.kept[0] for s in stages], [s.keep_prob[0] for s in stages])
    (found,) = image_pairs(
        TOKEN_SWIN.windows(), (1, 3), [s.kept.numpy() for s in stages], [s.has_package.numpy() for s in stages]
    )
    assert sum(found.blocks[1:]) == pairs


def test_a_schedule_is_the_most_that_a_photo_costs_that_keeps_just_so_many() -> None:
    model = swin_token_model()
    _, stages = model.run(images(4), top_share(KEEP, PATCHES))
    photos = [count.total for count in image_macs(TOKEN_SWIN, TOKEN_BLOCKS, stages)]
    most = schedule_macs(TOKEN_SWIN, TOKEN_BLOCKS, KEEP).total
    assert 0.9 * most < min(photos) <= max(photos) <= most < count_macs(TOKEN_SWIN).total
