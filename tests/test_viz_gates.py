"""Gates and the convolution inside an attention in pictures, from values made by hand."""

import numpy as np
import pytest

from core.costs.deit import DeitGeometry
from core.results import Architecture
from core.single_path.searched import GateHistory, Gates, KernelReading
from viz.gates import ffn_gates, gate_curves, gate_rows, gate_table, mixing_sentence, why_sentence

GEOMETRY = DeitGeometry(img_size=16, patch=8, width=4, depth=2, heads=2, ffn_hidden=4, classes=3)
LOGIT_75 = np.log(3)  # sigmoid 0.75
GATES = Gates(GEOMETRY, np.array([[0.0, LOGIT_75, -LOGIT_75], [2.0, 2.0, 2.0]]), np.zeros((2, 4)))
TURN = "\N{MULTIPLICATION SIGN}"


def reading(share: float) -> KernelReading:
    first = np.full((3, 3), share)
    return KernelReading(np.stack((first, 1 - first)), np.arange(9.0).reshape(3, 3), channels=2, alpha=0.01)


def test_table_names_what_each_gate_opens_and_its_probability() -> None:
    rows = gate_rows(GATES, 0, "conv3x3")
    assert [row["Opens"] for row in rows] == [f"1{TURN}1 or more", f"3{TURN}3 or more", "MSA"]
    assert [row["Probability"] for row in rows] == ["50 %", "75 %", "25 %"]
    assert [row["At this budget"] for row in rows] == ["open", "open", "closed"]
    assert [row["At this budget"] for row in gate_rows(GATES, 0, "skip")] == ["closed"] * 3


def test_table_in_markdown_has_a_heading_and_a_row_per_gate() -> None:
    head, rule, *rows = gate_table(GATES, 0, "conv3x3").splitlines()
    assert head == "| Gate | Opens | Probability | Logit | At this budget |"
    assert rule == "| --- | --- | --- | --- | --- |"
    assert rows[1] == f"| 2 | 3{TURN}3 or more | 75 % | {LOGIT_75:.2f} | open |"
    assert len(rows) == 3


def test_ffn_gates_stand_by_rank_and_kept_ones_apart() -> None:
    kept, closed = ffn_gates(np.array([0.0, LOGIT_75, -LOGIT_75, 0.1]), np.array([False, True, False, True])).data
    assert (kept.name, closed.name) == ("kept: 2", "closed: 2")
    assert list(kept.x) == [1, 2]
    assert kept.y[0] == pytest.approx(75)
    assert list(closed.x) == [3, 4]
    assert list(closed.y) == pytest.approx([50, 25])


def test_curves_follow_the_block_over_the_epochs() -> None:
    mixer = np.zeros((2, 2, 3))
    mixer[1, 1, 2] = LOGIT_75
    ffn = np.zeros((2, 2, 4))  # block, moment, unit
    ffn[1, 1] = [0, 0, LOGIT_75, LOGIT_75]
    history = GateHistory(GEOMETRY, np.array([0.0, 1.5]), mixer, ffn)
    figure = gate_curves(history, 1)
    last = next(trace for trace in figure.data if trace.name == "Gate 3: MSA")
    assert list(last.x) == [0, 1.5]
    assert list(last.y) == pytest.approx([50, 75])
    mean = next(trace for trace in figure.data if trace.name == "FFN gates, mean")
    assert list(mean.y) == pytest.approx([50, 62.5])
    assert len({trace.line.dash for trace in figure.data if trace.name.startswith("Gate")}) == 3
    other = next(trace for trace in gate_curves(history, 0).data if trace.name == "Gate 3: MSA")
    assert list(other.y) == pytest.approx([50, 50])


def test_why_a_block_became_what_it_did_is_how_its_gates_rank() -> None:
    found = Architecture(("conv3x3", "msa"), (1, 4), (4, 4), 100, 100, 200)
    said = why_sentence(GATES, found, 0)  # its least gate: sigmoid 0.25; the other block's: logit 2
    assert (
        f"of the 2 attentions this one ranks 2 in use per multiply-add, and at this budget it becomes 3{TURN}3" in said
    )
    assert "25 % of its FFN's units rank above those that the budget closes; in the median block it is 62 %" in said
    assert "ranks 1 in use per multiply-add, and at this budget it stays." in why_sentence(GATES, found, 1)


def test_even_shares_are_said_to_be_even() -> None:
    assert mixing_sentence(reading(0.5)) == "All heads count alike in it, 50.0 % each."
    assert "between 30.0 and 70.0 %" in mixing_sentence(reading(0.3))


@pytest.mark.parametrize("share", [np.full((2, 3, 3), 0.4), np.full((2, 9), 0.5)])
def test_a_reading_whose_shares_are_no_shares_is_refused(share) -> None:
    with pytest.raises(ValueError, match="shares"):
        KernelReading(share, np.zeros((3, 3)), 2, 0.01)
