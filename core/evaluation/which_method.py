"""Which method at which budget: a dense model pruned in four ways with nothing trained, and what it still answers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.errors import InputError
from core.evaluation.method_setups import Parts, Scored, Setup, Start, measure_parts, set_up
from core.latency.measure import measure_latency
from core.models.load import Loaded
from core.models.runners import Runner, dense_runner
from core.photos.image import to_tensor
from core.results.method_table import METHODS, Attempt, Method, MethodTable
from core.results.timings import Latency

SHARES = (0.8, 0.6, 0.4)
"""Of the dense model's multiply-adds."""
BATCH = 8
REPEATS = 8
"""Timed passes of each model."""
RUNNING, MEASURING = 0.1, 0.1
"""Share of the work after which the methods begin to run, and of that what is measured at each share."""

Turn = Callable[[], AbstractContextManager]
Tell = Callable[[float, str], object]


@dataclass(frozen=True, eq=False)
class Sharing:
    """How to share the machine with others; as it stands, nobody else is there."""

    turn: Turn = nullcontext
    """Entered for each batch that runs."""
    alone: Turn = nullcontext
    """Entered while something is timed."""
    between: Callable[[], object] | None = None
    """Called between two timings; see `core.latency.measure.interleaved`."""


def compare_methods(
    dense: Loaded,
    photos: Sequence[Image.Image],
    scored: Scored | str,
    *,
    shares: Sequence[float] = SHARES,
    timed: bool = True,
    sharing: Sharing | None = None,
    on_share: Tell | None = None,
) -> MethodTable:
    """Prune a dense model by each method to each share of its multiply-adds; hold its answers against the dense ones.

    What each method does is in `core.evaluation.method_setups`. Nothing is trained, and all stay at or just below the
    share.

    Args:
        dense: A dense model; only read.
        photos: One or more; labels are not needed.
        scored: What `core.training.scored.make_scored` made of it, or one sentence why there is no such thing.
        shares: Of the dense MACs, in (0, 1].
        timed: Also predict and measure times.
        sharing: With others on the machine.
        on_share: Called with the share done, 0 to 1, and what is being done; what it raises ends the work.

    Raises:
        InputError: If the model is pruned already, answers with no numbers, or there are no photos.
    """
    if dense.kind.pruned:
        raise InputError(f"{dense.spec.name} is pruned already; compare the methods on the dense model it came from.")
    if not photos:
        raise InputError("There are no photos to compare the methods on; give some.")
    sharing, tell = sharing or Sharing(), on_share or (lambda share, doing: None)
    device = next(dense.model.parameters()).device
    batches = [batch.to(device) for batch in torch.cat([to_tensor(photo, dense.card) for photo in photos]).split(BATCH)]
    tell(0.0, "asking the dense model")
    answers, _ = _run(dense_runner(dense.model, dense.dense_macs), batches, sharing.turn)
    if not answers.isfinite().all():
        raise InputError(f"{dense.spec.name} gives answers that are no numbers; its weights are damaged.")
    parts = Parts()
    if timed:
        tell(0.02, "measuring what its parts take")
        with sharing.alone():
            parts = measure_parts(dense, scored, sharing.between)
    start, rows = Start(dense, scored, parts), []
    for index, share in enumerate(shares):

        def within(done: float, doing: str, index: int = index) -> None:
            tell(RUNNING + (1 - RUNNING) * (index + done) / len(shares), doing)

        rows += _at(start, share, answers, batches, sharing, within, timed=timed)
    return MethodTable(
        dense=dense.spec.name,
        dense_macs=dense.dense_macs,
        photos=len(photos),
        answers=len(answers.argmax(dim=1).unique()),
        dense_predicted_ms=parts.dense_ms,
        rows=tuple(rows),
    )


def _at(
    start: Start, share: float, dense: Tensor, batches: Sequence[Tensor], sharing: Sharing, tell: Tell, *, timed: bool
) -> list[Attempt]:
    """All methods at one share; `dense`: its answers, (n, C), log-probabilities."""
    setups: dict[Method, Setup] = {}
    rows: dict[Method, Attempt] = {}
    for index, method in enumerate(METHODS):
        tell((1 - MEASURING) * index / len(METHODS), f"{method} at {share:.0%} of dense")
        try:
            setup = set_up(method, start, share)
        except InputError as error:
            rows[method] = Attempt(method, share, why_not=str(error))
            continue
        answers, macs = _run(setup.run, batches, sharing.turn)
        setups[method] = setup
        rows[method] = Attempt(
            method,
            share,
            setting=setup.setting,
            macs=float(macs.mean()),
            same=tuple((answers.argmax(dim=1) == dense.argmax(dim=1)).tolist()),
            mean_kl_nats=float(functional.kl_div(answers, dense, reduction="batchmean", log_target=True)),
            predicted_ms=setup.predicted_ms,
        )
    if timed and setups:
        tell(1 - MEASURING, f"measuring at {share:.0%} of dense")
        with sharing.alone():
            took, whole = _measured(start.dense, setups, batches[0][:1], sharing.between)
        for method, latency in took.items():
            rows[method] = replace(rows[method], measured=latency, dense_measured=whole)
    return list(rows.values())


@torch.inference_mode()
def _run(run: Runner, batches: Sequence[Tensor], turn: Turn) -> tuple[Tensor, Tensor]:
    """Log-probabilities (n, C) and MACs (n,) of all photos."""
    answers, counts = [], []
    for batch in batches:
        with turn():
            logits, macs, _ = run(batch)
        answers.append(logits.double().cpu().log_softmax(dim=1))
        counts.append(macs.cpu())
    return torch.cat(answers), torch.cat(counts)


def _measured(
    dense: Loaded, setups: dict[Method, Setup], image: Tensor, between: Callable[[], object] | None
) -> tuple[dict[Method, Latency], Latency]:
    """What each of them takes for one photo, and the dense model, all taking turns."""
    models = [dense.model, *(setup.alone for setup in setups.values())]
    whole, *each = measure_latency(models, image, repeats=REPEATS, warmup=1, between=between)
    return dict(zip(setups, each, strict=True)), whole
