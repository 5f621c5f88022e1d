"""Where a search starts: gate logits from scores, spread so that the search can still turn any two gates round."""

import numpy as np
import torch

from core.single_path.derive import derive
from core.single_path.gates import START_LOGIT
from core.single_path.search import expected_cost
from core.single_path.searched import Gates

SPREAD = 2 * START_LOGIT
"""From the gate that closes first to the one that closes last. From a flat start a gate must move by START_LOGIT to
close; two gates that move by as much towards each other meet across this spread, so scores take away no decision that a
flat start could reach in the same steps at the same rate, with Adam's equal steps or any others."""
MOST_SHIFT = SPREAD
HALVINGS = 50


def start_gates(gates: Gates, budget: float) -> Gates:
    """Gate logits to start a search from: in the order in which `derive` closes, costing what the search asks for.

    With the n gates in closing order and c_i the MACs that gate i saves,
    theta_i = shift + SPREAD ((c_1 + ... + c_i - c_i / 2) / (c_1 + ... + c_n) - 1 / 2).
    So a logit is a place in the one currency of units and mixers, score per multiply-add, whatever the scores' scale
    (their logarithms range over a dozen units, which no search would undo), and every budget derives what it derives
    from the scores. `shift` brings the expected MACs to the budget, where the search's cost term pulls at no gate, but
    not above those of a flat start: draws that leave as much open as there can still close every gate. It is found by
    halving [-MOST_SHIFT, MOST_SHIFT], so that |theta| < MOST_SHIFT + SPREAD / 2.

    Args:
        gates: Scored ones, from `core.single_path.score.gates_from`; any order of closing serves.
        budget: MACs of one image that the search is for.

    Raises:
        InputError: If the budget cannot be reached.

    Source: ours. He et al. 2021, arXiv:2111.11802, start all gates at START_LOGIT.
    """
    derive(gates, budget)  # refuses what cannot be reached
    geometry, depth = gates.geometry, gates.geometry.depth
    order, saved = gates.closing_order
    size = np.abs(saved)  # in a block of few heads a 3x3 convolution costs more than attention
    ends = np.cumsum(size)
    logits = np.empty(len(order))
    logits[order] = SPREAD * ((ends - size / 2) / ends[-1] - 0.5)

    def shifted(by: float) -> Gates:
        mixers, units = np.split(logits + by, [3 * depth])
        rows = np.cumsum(geometry.ffn_widths)[:-1]
        return Gates(geometry, mixers.reshape(depth, 3)[:, ::-1].copy(), tuple(np.split(units, rows)))

    flat = [np.full(width, START_LOGIT) for width in geometry.ffn_widths]
    aim = min(float(budget), _expected(Gates(geometry, np.full((depth, 3), START_LOGIT), flat)))
    low, high = -MOST_SHIFT, MOST_SHIFT
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _expected(shifted(middle)) > aim else (middle, high)
    return shifted(low)


def _expected(gates: Gates) -> float:
    """Expected MACs over the gates' draws."""
    mixers = [torch.from_numpy(row) for row in gates.mixer_logits]
    return float(expected_cost(mixers, [torch.from_numpy(units) for units in gates.ffn_logits], gates.geometry))
