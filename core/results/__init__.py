"""Findings that come out: frozen dataclasses of NumPy arrays and plain values, checked on creation, free of tensors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mixer = Literal["msa", "conv3x3", "conv1x1", "skip"]
MIXERS: tuple[Mixer, ...] = ("msa", "conv3x3", "conv1x1", "skip")
BY_OPEN_GATES: tuple[Mixer, ...] = MIXERS[::-1]
"""What a block is when its first 0, 1, 2 or 3 gates are open."""


@dataclass(frozen=True)
class ClassName:
    """One class that a model knows."""

    wnid: str | None
    """WordNet id such as n02123045; None for a class of one's own."""
    label: str
    """What a person reads."""


@dataclass(frozen=True)
class MacCount:
    """Multiply-adds of one image, by part of the model."""

    embedding: int = 0
    attention: int = 0
    convolution: int = 0
    ffn: int = 0
    selectors: int = 0
    head: int = 0

    def __add__(self, other: "MacCount") -> "MacCount":
        """Of two parts together."""
        return MacCount(
            self.embedding + other.embedding,
            self.attention + other.attention,
            self.convolution + other.convolution,
            self.ffn + other.ffn,
            self.selectors + other.selectors,
            self.head + other.head,
        )

    @property
    def total(self) -> int:
        """All parts together."""
        return self.embedding + self.attention + self.convolution + self.ffn + self.selectors + self.head


@dataclass(frozen=True)
class Layers:
    """What stands in each block of a flat ViT; None: as in the dense model."""

    mixers: tuple[Mixer, ...] | None = None
    """Per block, L of them."""
    ffn_hidden: tuple[int, ...] | None = None
    """Hidden units per block."""
    ranked: bool = False
    """What chooses patches before blocks is not a selector but a ranking by class attention."""


DENSE_LAYERS = Layers()


def told_apart(classes: Sequence[ClassName]) -> tuple[str, ...]:
    """What a person reads for each class: its label, and the WordNet id or the number too where several have it."""
    several = Counter(c.label for c in classes)
    return tuple(c.label if several[c.label] == 1 else f"{c.label} ({c.wnid or i})" for i, c in enumerate(classes))


@dataclass(frozen=True)
class Guess:
    """One line of a top-5."""

    label: str
    wnid: str | None
    prob: float
    index: int
    """Position among the model's classes."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one model says about one image."""

    probs: np.ndarray
    """float (C,): softmax over all classes of the model."""
    classes: tuple[ClassName, ...]
    """C of them, in the order of `probs`."""
    least_share: float | None = None
    """See `core.models.cards.ModelCard.least_share`."""

    def __post_init__(self) -> None:
        if self.probs.shape != (len(self.classes),) or not np.isclose(self.probs.sum(), 1, atol=1e-3):
            raise ValueError(
                f"{self.probs.shape} probabilities for {len(self.classes)} classes, sum {self.probs.sum()}"
            )

    def top(self, count: int = 5) -> tuple[Guess, ...]:
        """The `count` likeliest classes, likeliest first; fewer if the model knows fewer."""
        order = np.argsort(-self.probs, kind="stable")[:count]
        return tuple(Guess(self.classes[i].label, self.classes[i].wnid, float(self.probs[i]), int(i)) for i in order)


@dataclass(frozen=True, eq=False)
class TokenTrace:
    """Which patches of one image one model kept, stage by stage, and where the others went."""

    grid: tuple[int, int]
    """Patch rows and columns of the input, row-major; rows * cols == N."""
    blocks: tuple[int, ...]
    """Block before which each selector stands, from 0; S of them, rising."""
    kept: np.ndarray
    """bool (S, N): patch n is still a token of its own after stage s. Where selectors see smaller grids, see `grids`, a
    row is filled up with cells that are not there: here False, below NaN or 0."""
    keep_prob: np.ndarray
    """float (S, N) in [0, 1]: what the selector thought of the patch; NaN where it had already left."""
    package_weight: np.ndarray
    """float (S, N): weight of each patch in the package of stage s; a row sums to 1 (as a mean), or to 0 without one.
    Packages are never dropped, so no package holds another one; except where there is `one_package`: what is missing to
    1 is then the weight of the package before."""
    per_head: np.ndarray
    """float (S, N, H) in [0, 1]: what each head thought of the patch; NaN where it had already left, and where the
    selector has fewer heads than another."""
    importance: np.ndarray
    """float (S, N, H) in (0, 1): how much each head's opinion of the patch counted; NaN likewise."""
    tokens: tuple[int, ...]
    """Tokens in each block (prefix + patches + packages), L of them."""
    prediction: Prediction
    macs: MacCount
    """Of this image."""
    dense_macs: int
    grids: tuple[tuple[int, int], ...] = ()
    """Patch rows and columns that each selector sees, S of them; empty: `grid` for all. On a new grid every cell is a
    token again."""
    dense_tokens: tuple[int, ...] = ()
    """Tokens in each block where nothing is pruned, L of them; empty: as many as in the first block."""
    first: str = "the class token"
    """What stands before the patches, in words; "": nothing."""
    one_package: bool = False
    """An image has one package, which each selector folds into, in place of one of each selector."""

    def __post_init__(self) -> None:
        stages, patches = len(self.blocks), self.grid[0] * self.grid[1]
        if (self.grids and len(self.grids) != stages) or any(r * c > patches for r, c in self.grids):
            raise ValueError(f"grids {self.grids} of {stages} selectors, the input's is {self.grid}")
        for name in ("kept", "keep_prob", "package_weight"):
            if getattr(self, name).shape != (stages, patches):
                raise ValueError(f"{name} is {getattr(self, name).shape}, not {(stages, patches)}")
        heads = self.per_head.shape[-1]
        if self.per_head.shape != (stages, patches, heads) or self.importance.shape != (stages, patches, heads):
            raise ValueError(f"scores of heads are {self.per_head.shape}, {self.importance.shape}")
        if (self.kept & ~self._before).any():
            raise ValueError("a pruned patch came back at a later stage")
        if ((self.package_weight > 0) & ~self.dropped).any():
            raise ValueError("a package holds a patch that its stage did not drop")

    @property
    def dropped(self) -> np.ndarray:
        """bool (S, N): the patch left at exactly this stage."""
        return self._before & ~self.kept

    @property
    def _before(self) -> np.ndarray:
        """bool (S, N): the patch was a token of its own when it reached the stage."""
        before = np.zeros_like(self.kept)
        for stage in range(len(self.blocks)):
            same = stage and self.grid_at(stage + 1) == self.grid_at(stage)
            before[stage] = self.kept[stage - 1] if same else np.arange(len(before[stage])) < self.patches_at(stage + 1)
        return before

    def grid_at(self, stage: int) -> tuple[int, int]:
        """Patch rows and columns at selector `stage`, from 1; 0 is the input."""
        return self.grids[stage - 1] if stage and self.grids else self.grid

    def patches_at(self, stage: int) -> int:
        """N of that grid."""
        rows, cols = self.grid_at(stage)
        return rows * cols

    def heads_at(self, stage: int) -> int:
        """H of selector `stage`, from 1: where a family pools, later selectors have more heads."""
        if not self.grids:
            return self.per_head.shape[-1]
        return int((~np.isnan(self.per_head[stage - 1])).any(axis=0).sum())

    def same_grid(self, stage: int) -> range:
        """The selectors up to `stage` (from 1; 0 is the input) on the grid of that moment, counted from 0."""
        first = stage
        while first and self.grid_at(first) == self.grid_at(stage):
            first -= 1
        return range(first, stage)

    @property
    def kept_counts(self) -> tuple[int, ...]:
        """Patches alive after each selector."""
        return tuple(int(n) for n in self.kept.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Architecture:
    """What single-path pruning made of each block, and what it costs."""

    mixers: tuple[Mixer, ...]
    """Per block, L of them."""
    ffn_hidden: tuple[int, ...]
    """Hidden units left per block."""
    ffn_full: tuple[int, ...]
    """Hidden units of the dense block."""
    macs: int
    """Achieved."""
    dense_macs: int
    asked_macs: float | None = None
    """The budget; None for an architecture that nobody asked for by budget."""
    step_macs: int | None = None
    """Cost of the gate that closed last: the budget is missed by less than this; None where nothing closed."""
    ffn_kept: tuple[np.ndarray, ...] | None = None
    """Per block bool (F,): which hidden units are left; None where only their number is known."""

    def __post_init__(self) -> None:
        if not len(self.mixers) == len(self.ffn_hidden) == len(self.ffn_full):
            raise ValueError(f"{len(self.mixers)} mixers, {len(self.ffn_hidden)} FFN widths, {len(self.ffn_full)} full")
        if unknown := set(self.mixers) - set(MIXERS):
            raise ValueError(f"unknown mixers {sorted(unknown)}")
        if any(not 0 <= h <= full for h, full in zip(self.ffn_hidden, self.ffn_full, strict=True)):
            raise ValueError(f"FFN widths {self.ffn_hidden} of {self.ffn_full}")
        if self.ffn_kept is not None and tuple(int(k.sum()) for k in self.ffn_kept) != self.ffn_hidden:
            raise ValueError("ffn_kept and ffn_hidden disagree")
        if self.asked_macs is not None and self.macs > self.asked_macs:
            raise ValueError(f"{self.macs} MACs are over the budget of {self.asked_macs}")


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of one model on one folder of photos."""

    images: int
    left_out: int
    """Photos whose class the model does not know; they count nowhere else."""
    top1: float
    """Share in [0, 1], over all classes of the model."""
    top5: float
    mean_macs: float
    """MACs per image, averaged over the images."""
    dense_macs: int
    images_per_s: float
    correct: tuple[bool, ...]
    """Per image, in the order of the folder: the top-1 is right. For paired comparisons."""
    mean_kept: tuple[float, ...] | None = None
    """Share of the patches alive after each selector, averaged over the images."""


@dataclass(frozen=True)
class Recorded:
    """One evaluation that was recorded beside a model."""

    model: str
    setting: str
    """As on the command line, such as "--keep 0.5,0.3,0.2"; empty for the model's own."""
    top1: float
    top5: float
    mean_macs: float
    dense_macs: int
    images: int
