"""How much of the evidence lies on kept, folded and dropped patches, worked out by hand."""

import numpy as np
import pytest

from core.inference.evidence import Evidence, Portion, divided
from core.results import ClassName, MacCount, Prediction, TokenTrace


def trace(kept: list[list[int]], weight: list[list[float]], grid: tuple[int, int], **more: object) -> TokenTrace:
    """Of selectors before blocks 1, 2 and so on."""
    stages, patches = len(kept), grid[0] * grid[1]
    heads = np.zeros((stages, patches, 1))
    return TokenTrace(
        grid=grid,
        blocks=tuple(range(1, stages + 1)),
        kept=np.array(kept, dtype=bool),
        keep_prob=np.zeros((stages, patches)),
        package_weight=np.array(weight, dtype=float),
        per_head=heads,
        importance=heads,
        tokens=(patches,) * (stages + 1),
        prediction=Prediction(np.array([1.0]), (ClassName(None, "cat"),)),
        macs=MacCount(),
        dense_macs=1,
        **more,
    )


def test_what_speaks_for_the_answer_is_divided_and_what_speaks_against_it_is_no_evidence() -> None:
    """Patches 0 and 1 stay; 2 is folded at the second selector, 3 at the first; 4 and 5 leave without a trace."""
    found = trace(
        kept=[[1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0]],
        weight=[[0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]],
        grid=(2, 3),
    )
    values = np.array([[3.0, -9.0, 2.0], [1.0, 4.0, 0.0]])  # for it: 10 in all
    assert divided(values, found) == Evidence(Portion(2, 0.3), Portion(2, pytest.approx(0.3)), Portion(2, 0.4))


def test_the_shares_add_up_to_everything() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3))
    found = divided(values, trace([[1, 0, 1, 0, 1, 0]], [[0, 0.5, 0, 0.5, 0, 0]], (2, 3)))
    assert found.kept.share + found.folded.share + found.dropped.share == pytest.approx(1)
    assert found.kept.share == pytest.approx(np.maximum(values, 0).ravel()[::2].sum() / np.maximum(values, 0).sum())


def test_where_nothing_speaks_for_the_answer_there_is_nothing_to_divide() -> None:
    assert divided(-np.ones((1, 2)), trace([[1, 0]], [[0, 1]], (1, 2))) is None
    with pytest.raises(ValueError, match="for patches of"):
        divided(np.ones((2, 1)), trace([[1, 0]], [[0, 1]], (1, 2)))


def test_where_a_family_pools_a_patch_shares_the_fate_of_its_cell_on_the_last_grid() -> None:
    """Four columns, then two: cell 0 holds columns 0 and 1 and stays, cell 1 is folded. What left before is back."""
    found = trace(
        kept=[[0, 1, 1, 1], [1, 0, 0, 0]],
        weight=[[1, 0, 0, 0], [0, 1, 0, 0]],
        grid=(1, 4),
        grids=((1, 4), (1, 2)),
        one_package=True,
    )
    assert divided(np.array([[1.0, 2.0, 3.0, 4.0]]), found) == Evidence(Portion(2, 0.3), Portion(2, 0.7), Portion(0, 0))
