"""The contract of a family: what the house and its methods ask of a backbone, so that nobody asks which family it is.

A family is a module beside this one, with one line in `core.families.families`. How its tokens lie says which of the
further contracts it keeps: a flat one is a sequence on one grid (`FlatFamily`), a pooled one has a smaller grid in each
stage (`PooledFamily`), and so has one whose attention sees windows of the grid (`WindowFamily`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from core.config import Normalisation
from core.costs.geometry import Geometry
from core.errors import InputError
from core.families.block import PreNorm
from core.families.views import Step, View

Backbone = Any
"""A model that a family has built or accepted, dense or with what pruning has put into it: modules of timm, whose parts
no type tells."""
Layout = Literal["flat", "pooled", "windows"]


class Alive(NamedTuple):
    """What is left of the patches behind the last block."""

    patches: Tensor
    """Those that are tokens of their own, image after image, (m, D)."""
    counts: Sequence[int]
    """How many of these each image has, B of them."""
    packages: Tensor
    """Of each selector, (B, S, D); of no meaning where an image has none."""
    stands: Tensor
    """Patches that each package stands for, (B, S); 0 where there is no package, or an empty one."""


Left = Callable[[], Alive]
"""Gives it; a call, as not every family looks at it, and finding it takes time."""


class Backbones(NamedTuple):
    """Models of one kind that a family takes, for the table of what is taken."""

    what: str
    """What they are called."""
    names: str
    """How timm calls them, or where they come from."""
    head: str
    """What answers: a classifier of theirs, or one that training gives them."""


OWN_HEAD = "its own"
NO_HEAD = "from `train --probe`"


class Size(NamedTuple):
    """A model as a person describes it, to be trained from scratch; a family reads what it knows."""

    img_size: int
    width: int
    depth: int
    heads: int
    classes: int
    stem: tuple[int, ...]
    """Channels of convolutions of stride 2."""
    patch: int
    stem_channels: int


class PublishedSearch(NamedTuple):
    """Settings of one published search."""

    geometry: Geometry
    weight: float
    """lambda, of the cost term in G."""
    gate_rate: float
    """Learning rate of the gates, constant."""


@dataclass(frozen=True)
class Search:
    """How single-path pruning searches a family, as in the release of arXiv:2111.11802."""

    alpha: float
    """Temperature of the head mixing."""
    published: tuple[PublishedSearch, ...]
    """Of models of this family, the smallest first, which others take theirs from."""


class Family(Protocol):
    """What every family says of itself. `model` is one that it has built or accepted."""

    @property
    def FAMILY(self) -> str:
        """Its name, which cards and flags say."""
        ...

    @property
    def METHODS(self) -> tuple[str, ...]:
        """What can prune it: "tokens", "singlepath" or both."""
        ...

    @property
    def WHY_NOT(self) -> str | None:
        """Why another method cannot, as a sentence goes on; None: it takes other families, no more is to be said."""
        ...

    @property
    def BASELINES(self) -> bool:
        """Whether tokens can be merged, fused or dropped on its dense weights."""
        ...

    @property
    def NO_ROLLOUT(self) -> str | None:
        """Why attention cannot be rolled out through it, as a sentence goes on behind its name; None: it can."""
        ...

    @property
    def NAMES(self) -> str:
        """Which models it takes, for sentences."""
        ...

    @property
    def TAKEN(self) -> tuple[Backbones, ...]:
        """The same by kind, for a table."""
        ...

    @property
    def OWN_NAMES(self) -> tuple[str, ...]:
        """Names of models that timm lacks."""
        ...

    @property
    def GEOMETRY(self) -> type[Geometry]:
        """The class of its geometries."""
        ...

    @property
    def BACKBONE(self) -> type[nn.Module]:
        """The class of its models."""
        ...

    @property
    def LAYOUT(self) -> Layout:
        """How its tokens lie."""
        ...

    @property
    def SEARCH(self) -> Search:
        """How single-path pruning searches it."""
        ...

    def geometry_from(self, raw: dict) -> Any:
        """A geometry as JSON holds it, lists for tuples."""
        ...

    def first_words(self, geometry: Any) -> str:
        """What stands before the patches, in words, such as "the class token"; "": nothing."""
        ...

    def cost_aside(self, geometry: Any) -> str | None:
        """What is to be said of its MACs besides, in brackets behind them; None: nothing."""
        ...

    def claims(self, name: str) -> bool:
        """Whether one of timm's names, or of `OWN_NAMES`, is of this family."""
        ...

    def build(self, geometry: Any, *, drop_path: float = 0.0) -> Backbone:
        """A model of this geometry with fresh weights, in training mode; highest stochastic-depth rate in [0, 1)."""
        ...

    def from_timm(
        self, name: str, *, classes: int | None = None, pretrained: bool = False, img_size: int | None = None
    ) -> Backbone:
        """A model by name, in training mode; the arguments as in `core.families.timm_models.create`."""
        ...

    def geometry_of(self, model: Backbone, timm_name: str | None = None) -> Any:
        """The geometry of a dense model, read from its modules."""
        ...

    def normalisation_of(self, model: Backbone) -> Normalisation:
        """What the photos that it was trained on went through."""
        ...

    def take_over(self, model: Backbone, before: Backbone, classes: Sequence[int | None]) -> None:
        """Give `model` the weights of `before`, which differs in pixels and classes only, in place.

        Args:
            model: To be trained further.
            before: Trained.
            classes: Per class of `model`, its place among those of `before`; None: new, keeps its fresh weights.
        """
        ...

    def stages_of(self, model: Backbone) -> list[Any]:
        """What holds the blocks, each as `blocks`, from the input on; a flat model itself."""
        ...

    def blocks_of(self, model: Backbone) -> list[PreNorm]:
        """All blocks from the input on, L of them, dense or with whatever pruning has put into them."""
        ...

    def grids_of(self, model: Backbone) -> tuple[tuple[int, int], ...]:
        """Patch rows and columns that each block works on, L of them."""
        ...

    def as_patches(self, embedded: Tensor) -> Tensor:
        """What the patch embedding gives for a batch, as patches row by row, (B, N, D)."""
        ...

    def views_of(self, model: Backbone, *, passes: bool = False, in_windows: bool = False) -> tuple[View, ...]:
        """How the tokens of each block lie, for convolutions, L of them; see `core.families.views`."""
        ...

    def walk(self, model: Backbone, images: Tensor, step: Step) -> Tensor:
        """Images (B, 3, H, W) to logits (B, C), with `step` in place of each block.

        Raises:
            InputError: If the images are not of the model's size.
        """
        ...


class OwnFamily(Family, Protocol):
    """One with `OWN_NAMES`."""

    def not_by_name(self, name: str) -> InputError:
        """What to say to who wants one of them with weights, which are not fetched by name: where they are."""
        ...


class SizedFamily(Family, Protocol):
    """One whose models can be of any size, to be trained from scratch."""

    def of_size(self, size: Size) -> Geometry:
        """The geometry of that size.

        Raises:
            ValueError: If there is none.
            ZeroDivisionError: If a size is 0.
        """
        ...


class TokenFamily(Family, Protocol):
    """One whose tokens may leave."""

    def attended(self, block: Any, x: Tensor, policy: Tensor | None = None) -> Tensor:
        """How much the answer looks at each token in a block that is an attention, (B, T), rows summing to 1.

        Args:
            block: Of the model.
            x: What comes into it, (B, T, D).
            policy: (B, T), 1 for tokens that are there and 0 for those that have left; None: all are.
        """
        ...


class FlatFamily(TokenFamily, Protocol):
    """One whose tokens are a sequence on one grid, prefix tokens first."""

    def embed(self, model: Backbone, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to tokens (B, T, D) before the first block.

        Raises:
            InputError: If the images are not of the model's size.
        """
        ...

    def classify(self, model: Backbone, tokens: Tensor, left: Left) -> Tensor:
        """Logits (B, C) where each image has another number of patches left.

        Args:
            model: In evaluation mode.
            tokens: Prefix tokens after the last block, first of (B, T, D).
            left: The patches that are still alive there, and the packages of the others.
        """
        ...

    def classify_masked(self, model: Backbone, normed: Tensor, alive: Tensor, stands: Tensor) -> Tensor:
        """The same with nothing removed.

        Args:
            model: In any mode.
            normed: Normalised prefix tokens, patches and packages, (B, P + N + S, D).
            alive: (B, N), above 0 where a patch is.
            stands: (B, S), as in `Alive`.
        """
        ...


class PooledFamily(TokenFamily, Protocol):
    """One whose stages begin with a smaller grid, each made by the stage's `pool`; `pool.fc` makes a token wider."""

    def embed(self, model: Backbone, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) to the first stage's map (B, D, rows, cols) and prefix tokens (B, P, D).

        Raises:
            InputError: If the images are not of the model's size.
        """
        ...

    def map_of(self, patches: Tensor, like: Tensor) -> Tensor:
        """Patches (B, N, D) as a map of the rows and columns of `like`, (B, D, rows, cols)."""
        ...

    def classify(self, model: Backbone, tokens: Tensor) -> Tensor:
        """Prefix tokens (B, P, D) after the last block to logits (B, C)."""
        ...

    def look(self, model: Backbone, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The dense forward, and where its class token looks.

        Returns:
            Logits (B, C), normalised patches of the last stage (B, N, D), and per block the class token's attention on
            the patches of that block's own grid, mean over heads, (B, N), L of them.
        """
        ...


class WindowFamily(TokenFamily, Protocol):
    """One whose stages begin with a smaller grid, each made by the stage's `downsample`, and attend in windows of it.

    There are no prefix tokens, and the answer is read off the last grid. Maps are (B, h, w, D).
    """

    def embed(self, model: Backbone, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the first stage's map (B, h, w, D).

        Raises:
            InputError: If the images are not of the model's size.
        """
        ...

    def merge_package(self, stage: Any, package: Tensor) -> Tensor:
        """A package (B, D) through what makes the grid of a stage, which is not the first, (B, D')."""
        ...

    def classify(self, model: Backbone, maps: Tensor) -> Tensor:
        """The last stage's map (B, h, w, D) to logits (B, C)."""
        ...

    def look(self, model: Backbone, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The dense forward, and where its tokens look; as in `PooledFamily.look`."""
        ...
