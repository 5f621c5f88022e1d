"""The contract of a geometry: what a count must know of a dense model, its blocks as shapes and what is in no block.

Each family has a frozen class of its own beside its blocks' shapes; none is made of another family's. Families give
shapes and say what stands outside of their blocks; the formulas for blocks are in `core.costs.macs` and
`core.costs.params`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import Field
from typing import Any, ClassVar, NamedTuple, Protocol

from core.costs.windows import Windows
from core.results import MacCount


class BlockShape(NamedTuple):
    """One block, dense or what pruning has left of it."""

    tokens: int
    """T: prefix tokens, patches and packages."""
    patches: int
    """N of them are patches, which convolutions are over."""
    width: int
    """D."""
    heads: int
    """H."""
    ffn: int
    """F."""
    window: int | None = None
    """Keys that each token attends to, in windows; None: all T."""
    pairs: int | None = None
    """(query, key) pairs, where windows have lost cells; None: each token with all of its keys."""

    @property
    def keys(self) -> int:
        """Keys that each token attends to."""
        return self.tokens if self.window is None else self.window


class Geometry(Protocol):
    """Shape of a dense model: enough to build it without weights, and to count what it costs, dense or pruned."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    """Each is a frozen dataclass."""
    img_size: int
    """Side of the square input, pixels."""
    patch: int
    """Side of one patch, pixels."""
    depth: int
    """L."""
    heads: int | tuple[int, ...]
    """H, of every block or of each stage's."""
    classes: int
    """C."""
    prefix_tokens: int
    """Tokens that are no patches, in front of them."""

    def __init_subclass__(cls, **given: object) -> None:
        super().__init_subclass__(**given)
        if any(Geometry in base.__mro__ and base is not Geometry for base in cls.__bases__):
            raise TypeError(f"{cls.__name__} is made of another family's geometry, whose counts are not its own")

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns of the first block."""

    @property
    @abstractmethod
    def block_grids(self) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns that each block works on, L of them."""

    @abstractmethod
    def blocks(self) -> tuple[BlockShape, ...]:
        """The dense blocks from the input on, L of them."""

    @abstractmethod
    def overhead(self, blocks: Sequence[BlockShape]) -> MacCount:
        """MACs of what is in no block: embedding, whatever stands between stages (counted as embedding), and heads.

        Args:
            blocks: What is left in each block, L of them.
        """

    @abstractmethod
    def overhead_params(self) -> int:
        """Parameters of what is in no block."""

    @abstractmethod
    def bias_params(self, block: BlockShape) -> int:
        """Biases of the attention of one block: of queries, keys and values, and of relative positions."""

    def lookers(self, tokens: int) -> int:
        """Of the `tokens` of a flat or pooled model, those whose attention ranks patches: the class token alone."""
        return 1

    def windows(self) -> tuple[Windows, ...]:
        """The windows of each block, L of them; empty: attention is over all tokens."""
        return ()

    @property
    def patches(self) -> int:
        """N of the first block."""
        return self.grid[0] * self.grid[1]

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """F of each dense block, L of them."""
        return tuple(block.ffn for block in self.blocks())


def check_sizes(geometry: Geometry, *sizes: int) -> None:
    """Refuse sizes that are none.

    Raises:
        ValueError: If one is not a whole number above 0.
    """
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"sizes must be whole numbers above 0: {geometry}")


def check_flat(geometry: Geometry, width: int, heads: int) -> None:
    """Refuse a flat geometry whose patches or heads do not fit.

    Raises:
        ValueError: If the image is no whole number of patches, or the width none of heads.
    """
    if geometry.img_size % geometry.patch or width % heads:
        raise ValueError(f"img_size must divide by patch and width by heads: {geometry}")


def left_blocks(
    geometry: Geometry,
    *,
    tokens: Sequence[int] | None = None,
    patches: Sequence[int] | None = None,
    ffn_hidden: Sequence[int] | None = None,
    pairs: Sequence[int] | None = None,
) -> tuple[BlockShape, ...]:
    """What pruning has left of each block.

    Args:
        geometry: The dense model.
        tokens: Tokens in each block (L of them); None: all in every block.
        patches: Patches among them; None: all N in every block.
        ffn_hidden: Hidden units per block; None: the full width.
        pairs: (query, key) pairs of the attention in each block; None: as many as its tokens and windows make.

    Raises:
        ValueError: If one is not of L numbers.
    """
    dense = geometry.blocks()
    if tokens is None and patches is None and ffn_hidden is None and pairs is None:
        return dense
    left = zip(
        dense,
        tokens or [block.tokens for block in dense],
        patches or [block.patches for block in dense],
        ffn_hidden or [block.ffn for block in dense],
        pairs or [None] * len(dense),
        strict=True,
    )
    return tuple(block._replace(tokens=t, patches=n, ffn=f, pairs=p) for block, t, n, f, p in left)
