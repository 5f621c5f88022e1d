"""The job that compares methods on a dense model: gates scored, unless they are, then every method run and timed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.config import ModelSpec
from core.evaluation.which_method import Sharing, compare_methods
from core.models.load import read_model
from core.results.method_table import MethodTable
from core.training.scored import sample_pictures
from pages.parts.scoring.scoring_job import Key, is_done, obtain, opened
from pages.server import locks, models, queues
from pages.server.giving_way import PATIENCE_S, GivingWay
from pages.server.jobs import Handle, Work

SCORING = 0.6
"""Share of the work that scoring is, where it has to be done."""


def comparing(key: Key, photos: Sequence[bytes] | None) -> Work:
    """What scores the gates, unless they are, and compares; what it needs of this session is taken here."""
    dense, shares, activity = models.loaded(ModelSpec(key[0])), queues.comparing_shares(), locks.activity()
    line, every_lock = locks.inference_lock(), locks.all_locks()
    scored_key, wait = obtain(*key)
    part = 0.0 if is_done(scored_key) else SCORING

    def work(handle: Handle) -> tuple[MethodTable, str]:
        def tell(share: float, doing: str) -> None:
            handle.check()
            shares[key] = share, doing

        giving = GivingWay(handle, every_lock, lambda: activity["ran_at"], 0.0)

        @contextmanager
        def alone() -> Iterator[None]:
            giving.until = time.monotonic() + PATIENCE_S
            with locks.holding(every_lock):
                yield

        scored = wait(handle, lambda share, doing: tell(part * share, f"scoring gates, {doing}"))
        table = compare_methods(
            dense,
            sample_pictures() if photos is None else opened(photos),
            scored if isinstance(scored, str) else read_model(scored),
            sharing=Sharing(lambda: line, alone, giving),
            on_share=lambda share, doing: tell(part + (1 - part) * share, doing),
        )
        return table, scored_key[1]

    return work
