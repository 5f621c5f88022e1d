"""Which patches an answer rests on: the finding of an attribution, checked on creation, free of tensors."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Method = Literal["gradients", "occlusion", "rollout"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each patch of one photo did for one model's answer, by one method."""

    values: np.ndarray
    """float (rows, cols). Integrated gradients: the patch's part of the rise of the logit from a grey picture to the
    photo. Occlusion: what the logit loses when the patch is covered with grey. Rollout: the patch's share in [0, 1] of
    what the class token attended to."""
    method: Method
    class_index: int | None
    """Position among the model's classes; None for rollout, which follows attention whatever the answer is."""
    rise: float | None = None
    """Logit of the class on the photo minus on the grey picture, which integrated gradients split up; else None."""
    delta: float | None = None
    """Convergence error of integrated gradients: sum of `values` minus `rise`, in logits; None for others."""
    frozen_selectors: int = 0
    """Selectors whose decisions were held at those for the untouched photo; 0 where there was nothing to hold."""
    passed_over: tuple[int, ...] = ()
    """Blocks that are no attention (convolution or skip), which a rollout passes by; counted from 0."""
    seconds: float = 0.0
    """What the computation took."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not np.isfinite(self.values).all():
            raise ValueError(f"a map of {self.values.shape} with {np.isfinite(self.values).sum()} numbers in it")
        if self.method not in METHODS or (self.class_index is None) != (self.method == "rollout"):
            raise ValueError(f"{self.method} for class {self.class_index}")
        if (self.delta is None) != (self.method != "gradients") or (self.rise is None) != (self.delta is None):
            raise ValueError(f"{self.method} with a rise of {self.rise} and a convergence error of {self.delta}")

    @property
    def signed(self) -> bool:
        """Whether a patch can speak against the class."""
        return self.method != "rollout"

    @property
    def error_share(self) -> float | None:
        """Convergence error as a share of the rise, at least 0; None for methods that have none."""
        return None if self.delta is None or self.rise is None else abs(self.delta) / max(abs(self.rise), 1e-9)
