"""Other methods at the same cost: what they made of the photo, in pictures, in sentences and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from core.baselines.plans import Peer, Plan
from core.baselines.trace import PeerTrace, overlap
from core.inference.agreements import agreement
from core.results import Prediction
from viz.theme import macs_text, percent
from viz.tokens import faded_photo

PEER_NAMES: dict[Peer, str] = {"tome": "ToMe", "evit": "EViT", "random-dense": "Random dropping"}
DARK, LIGHT = (17, 24, 39), (255, 255, 255)
"""The two inks of a border: one of them stands out on any photo."""
TINT = 0.65
"""Share of the mean colour in a group."""


@dataclass(frozen=True, eq=False)
class Way:
    """One method on one photo, ours or another."""

    name: str
    weights: str
    """Whose, as a table says it."""
    prediction: Prediction
    macs: int
    alone: np.ndarray
    """bool (N,): patches that are tokens of their own to the end."""


def peer_photo(view: Image.Image, trace: PeerTrace, block: int, side: int = 640) -> Image.Image:
    """The photo as a peer has it after `block` (from 0): merged groups outlined, or patches that left faded."""
    if trace.plan.peer == "tome":
        return grouped_photo(view, trace.groups[block], trace.grid, side)
    dropped = [trace.left == at for at in trace.plan.blocks if at <= block]
    return faded_photo(view, np.array(dropped), trace.grid, side)


def grouped_photo(view: Image.Image, group: np.ndarray, grid: tuple[int, int], side: int = 640) -> Image.Image:
    """The photo with each group of two patches or more tinted in its mean colour, inside a dark and light border.

    A patch alone is the photo itself. Parts of one group that do not touch have one colour, and a border each.

    Args:
        view: What the model sees, square.
        group: int (N,), row by row: patches of one number belong together.
        grid: Patch rows and columns.
        side: Pixels of the result's longer side, rounded down to whole patches.
    """
    rows, cols = grid
    cell = side // max(grid)
    small = view.convert("RGB").resize((cols * cell, rows * cell), Image.Resampling.LANCZOS)
    photo = np.asarray(small, np.float32)
    colours = np.asarray(view.convert("RGB").resize((cols, rows), Image.Resampling.BOX), np.float32).reshape(-1, 3)
    shared = np.bincount(group, minlength=group.max() + 1)[group] > 1  # bool (N,)
    mean = np.stack([colours[group == number].mean(axis=0) for number in group])  # (N, 3)
    big = [values.reshape(rows, cols, -1).repeat(cell, axis=0).repeat(cell, axis=1) for values in (mean, shared)]
    picture = Image.fromarray(np.where(big[1], TINT * big[0] + (1 - TINT) * photo, photo).round().astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for ink, width in ((DARK, max(3, cell // 12)), (LIGHT, max(1, cell // 36))):
        for line in _borders(group.reshape(grid), shared.reshape(grid)):
            draw.line([value * cell for value in line], fill=ink, width=width)
    return picture


def _borders(group: np.ndarray, shared: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Edges (x, y, x, y) in patches around every shared group, (rows, cols) each; the photo's rim included."""
    rows, cols = group.shape
    apart = np.pad(group, 1, constant_values=-1)
    inside = np.pad(shared, 1)
    upright = (apart[1:-1, 1:] != apart[1:-1, :-1]) & (inside[1:-1, 1:] | inside[1:-1, :-1])  # (rows, cols + 1)
    level = (apart[1:, 1:-1] != apart[:-1, 1:-1]) & (inside[1:, 1:-1] | inside[:-1, 1:-1])  # (rows + 1, cols)
    found = [(x, y, x, y + 1) for y in range(rows) for x in range(cols + 1) if upright[y, x]]
    return found + [(x, y, x + 1, y) for y in range(rows + 1) for x in range(cols) if level[y, x]]


def peer_sentence(trace: PeerTrace, block: int) -> str:
    """What became of the patches by the end of `block` (from 0), in words."""
    plan, patches = trace.plan, len(trace.left)
    alone = int(((trace.left < 0) | (trace.left > block)).sum())
    if plan.peer == "tome":
        sizes = np.bincount(trace.groups[block])
        groups = sizes[sizes > 1]
        if not len(groups):
            return f"All {patches} patches are alone."
        inside = f"{groups.sum()} of {patches} patches are in {len(groups)} group{'s' * (len(groups) > 1)}"
        return f"{inside}, the largest of {groups.max()}."
    went = "are fused" if plan.peer == "evit" else "are gone"
    return f"{alone} of {patches} patches are left" + (f", the others {went}." if alone < patches else ".")


def plan_sentence(plan: Plan) -> str:
    """What a peer does in every photo, in words. Blocks count from 1, as on screen."""
    amounts = ", ".join(map(str, plan.amounts))
    blocks = ", ".join(str(block + 1) for block in plan.blocks)
    if plan.peer == "tome":
        return f"ToMe merges {amounts} tokens away in blocks 1 to {plan.blocks[-1] + 1}."
    if plan.peer == "evit":
        return f"EViT keeps {amounts} tokens in blocks {blocks} and fuses the others into one more each time."
    return f"Random dropping leaves {amounts} patches from blocks {blocks} on."


def ways_table(dense: Prediction, ours: np.ndarray, ways: Sequence[Way]) -> dict[str, list]:
    """The columns of a table of methods, by their headings; shares in percent.

    Args:
        dense: What the dense model says.
        ours: bool (N,): patches that our selectors kept.
        ways: Methods, ours first: the costs of the others are shares of its.
    """
    found = [agreement(dense, way.prediction) for way in ways]
    return {
        "Method": [way.name for way in ways],
        "Weights": [way.weights for way in ways],
        "MACs": [macs_text(way.macs) for way in ways],
        "MACs, % of ours": [100 * way.macs / ways[0].macs for way in ways],
        "Answer": [way.prediction.top(1)[0].label for way in ways],
        "Same as dense": ["yes" if each.same_top1 else "no" for each in found],
        "KL from dense, nats": [each.kl_nats for each in found],
        "Patches alone at the end": [int(way.alone.sum()) for way in ways],
        "Overlap with ours, %": [100 * overlap(ours, way.alone) for way in ways],
    }


def way_caption(way: Way) -> str:
    """Under a picture: who, what it says, what it costs."""
    guess = way.prediction.top(1)[0]
    return f"**{way.name}:** {guess.label}, {percent(guess.prob)}; {macs_text(way.macs)}."
