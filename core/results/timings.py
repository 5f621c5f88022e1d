"""Findings about time: measured on a device, or predicted from what was measured there."""

import math
from dataclasses import dataclass
from itertools import pairwise

EAGER, ONNXRUNTIME, OPENVINO, COMPILE = "eager", "onnxruntime", "openvino", "compile"
INT8, BF16 = "onnxruntime-int8", "openvino-bf16"
ENGINES = {
    EAGER: "torch eager",
    ONNXRUNTIME: "onnxruntime",
    OPENVINO: "OpenVINO",
    COMPILE: "torch.compile",
    INT8: "onnxruntime, int8",
    BF16: "OpenVINO, bf16",
}
"""What can run a model, as the command line names it and as results do; see `core.latency.engines`."""
Swing = tuple[float, float]
"""The least and the most that a time may be off, as shares of it: (0.9, 1.2) is 10 % less to 20 % more."""
ROUNDED = (INT8, BF16)
"""Those that compute in fewer bits than the weights have, so that answers move a little."""


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass, measured, and all that one must know to repeat it."""

    median_ms: float
    iqr_ms: float
    """Third minus first quartile."""
    device: str
    threads: int
    batch: int
    dtype: str
    repeats: int
    engine: str = ENGINES[EAGER]
    """What ran it."""


@dataclass(frozen=True)
class Rounding:
    """How far an engine that computes in fewer bits moved one answer."""

    first: str
    """The first answer in float32."""
    same: bool
    """It is the first answer in fewer bits, too."""
    largest: float
    """Largest change of a probability, in [0, 1]."""


@dataclass(frozen=True)
class SpeedRow:
    """A pruned model beside its dense one, measured in turns on the same images."""

    model: str
    engine: str
    batch: int
    dense_ms: float
    """Median."""
    dense_iqr_ms: float
    """Third minus first quartile."""
    pruned_ms: float
    pruned_iqr_ms: float
    speedup: float
    """Median of dense / pruned within each round."""
    mac_ratio: float
    """Dense MACs over the mean MACs of these images."""
    efficiency: float
    """speedup / mac_ratio: 1 where every multiply-add saved saves its time."""
    selector_share: float | None = None
    """Time of the selectors alone, as a share of the pruned model's: in eager torch of their scores, in other engines
    of taking patches out and packing too. None where there are none."""
    kept: tuple[tuple[int, int], ...] | None = None
    """Per selector the fewest and the most patches that an image of the batch keeps."""


@dataclass(frozen=True)
class PeerRow:
    """Code of others beside ours at the same MACs, measured in turns."""

    peer: str
    """"PATH:function"."""
    settings: dict[str, object]
    """Given to it."""
    batch: int
    device: str
    threads: int
    macs: int
    """Of the peer on one image, by torch's counter, and so of ours."""
    mac_ratio: float
    """Dense MACs over these."""
    keep: tuple[float, ...]
    """Shares of the patches alive after each selector of ours, for the same MACs."""
    ms: dict[str, float]
    """Medians: "dense", "peer", "selectors" (ours), "ranked" (ours, by class attention)."""
    speedup: dict[str, float]
    """Over dense: medians of the ratios within each round."""


@dataclass(frozen=True)
class LatencyTable:
    """How long one block takes for how many tokens on one device, and what else a forward pass takes there."""

    device: str
    threads: int
    batch: int
    """Images per pass; all times are of the whole batch."""
    width: int
    """D of the model that it is for."""
    heads: int
    ffn_hidden: int
    tokens: tuple[int, ...]
    """Tokens per image, rising."""
    block_ms: tuple[float, ...]
    """One block at each of `tokens`."""
    selector_ms: tuple[float, ...]
    """One selector with its packaging, seeing each of `tokens`; zeros where the device was not measured for it."""
    rest_ms: float
    """Patch embedding, last norm and classifier."""
    swing: Swing = (1.0, 1.0)
    """How steady the machine was; see `core.latency.steadiness.swing`. Unknown of a table from a file."""

    def __post_init__(self) -> None:
        if not len(self.tokens) == len(self.block_ms) == len(self.selector_ms):
            raise ValueError(f"{len(self.tokens)} token counts, {len(self.block_ms)}, {len(self.selector_ms)} times")
        if len(self.tokens) < 2 or any(b <= a for a, b in pairwise(self.tokens)) or self.tokens[0] < 1:
            raise ValueError(f"token counts must rise from 1 or more: {self.tokens}")
        if not all(0 <= time < math.inf for time in (*self.block_ms, *self.selector_ms, self.rest_ms)):
            raise ValueError("times must be numbers of 0 or more")


@dataclass(frozen=True)
class Schedule:
    """Where selectors are to stand and what each is to keep, and what that is predicted to take."""

    blocks: tuple[int, ...]
    """Each stands before this block."""
    keep: tuple[float, ...]
    """Share of the original patches alive after each, never rising."""
    asked_ms: float
    predicted_ms: float
    """By the table."""
    dense_ms: float
    """By the table."""
    accuracy: float
    """Top-1 on the held-out photos, before any training, in [0, 1]."""
    dense_accuracy: float


@dataclass(frozen=True)
class StepCost:
    """Time of one training step, dense and searching, measured in turns."""

    dense_ms: float
    """Median."""
    dense_iqr_ms: float
    search_ratio: float
    """A search step in dense steps: the median of the ratios within each round; both learn from labels alone."""
    distilled_search_ratio: float
    """The same for a search that learns from a dense teacher too, whose forward pass is in it."""
    batch: int
    repeats: int
    device: str
    threads: int
    precision: str
    """"bf16" or "no" (float32)."""


@dataclass(frozen=True)
class RaggedRow:
    """Ways to run a block on images with different numbers of tokens."""

    block: str
    photos: int
    mean_tokens: int
    spread: float
    """Standard deviation of the token counts, as a share of their mean."""
    equal_ms: float
    """Median of equal counts with the same sum."""
    share: dict[str, float]
    """By way: its speed as a share of that; 1 is no loss."""
    repeats: int
    device: str
    threads: int


@dataclass(frozen=True)
class PathCosts:
    """What the parts of a single-path model take on one device: enough to predict any architecture made of them."""

    device: str
    threads: int
    batch: int
    """Images per pass; all times are of the whole batch."""
    mixer_ms: dict[str, float]
    """One block with this mixer and an FFN without hidden units, for each of `core.results.MIXERS`."""
    ffn_hidden: tuple[int, ...]
    """Widths at which the FFN was measured, rising from 0 to that of the dense block."""
    ffn_ms: tuple[float, ...]
    """What an FFN of each width adds to its block; 0 for the first."""
    rest_ms: float
    """Patch embedding, last norm and classifier."""
    swing: Swing = (1.0, 1.0)
    """How steady the machine was; see `core.latency.steadiness.swing`."""

    def __post_init__(self) -> None:
        if len(self.ffn_hidden) != len(self.ffn_ms) or self.ffn_hidden[0] != 0:
            raise ValueError(f"FFN widths {self.ffn_hidden} with {len(self.ffn_ms)} times")
        if any(b <= a for a, b in pairwise(self.ffn_hidden)):
            raise ValueError(f"FFN widths must rise: {self.ffn_hidden}")
        if not all(0 <= time < math.inf for time in (*self.mixer_ms.values(), *self.ffn_ms, self.rest_ms)):
            raise ValueError("times must be numbers of 0 or more")


@dataclass(frozen=True)
class CostCurve:
    """How long one model takes on one device by the multiply-adds that its keep ratios leave."""

    device: str
    threads: int
    batch: int
    """Images per pass; all times are of the whole batch."""
    macs: tuple[int, ...]
    """Of one image, rising."""
    ms: tuple[float, ...]
    """At each of `macs`."""
    dense_ms: float
    """The dense model, in the same rounds."""
    swing: Swing = (1.0, 1.0)
    """How steady the machine was; see `core.latency.steadiness.swing`."""

    def __post_init__(self) -> None:
        if len(self.macs) != len(self.ms) or any(b <= a for a, b in pairwise(self.macs)):
            raise ValueError(f"multiply-adds must rise, with a time each: {self.macs}, {self.ms}")


@dataclass(frozen=True)
class StagedCosts:
    """The same where blocks differ from stage to stage, as in Swin."""

    stages: tuple[PathCosts, ...]
    """Of each stage; all measured in one run, `rest_ms` of each is that of the whole model."""
    depths: tuple[int, ...]
    """Blocks of each stage."""

    @property
    def device(self) -> str:
        """Where it was measured."""
        return self.stages[0].device

    @property
    def threads(self) -> int:
        """At work."""
        return self.stages[0].threads

    @property
    def batch(self) -> int:
        """Images per pass."""
        return self.stages[0].batch

    @property
    def rest_ms(self) -> float:
        """Everything but the blocks."""
        return self.stages[0].rest_ms

    @property
    def swing(self) -> Swing:
        """How steady the machine was, over all stages."""
        return self.stages[0].swing
