"""Twenty people at once on one server: models are shared, and everybody gets what one gets alone."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from core import checkpoints, registry
from core.attributions import METHODS, Attribution
from core.config import ModelSpec
from core.images import open_photo
from core.results import Prediction, TokenTrace
from pages import _shared
from tests import test_pages

assets = test_pages.assets
PEOPLE = 20
PATIENCE_S = 120
DENSE, OWN, HALF = (
    ModelSpec("bundled-dense"),
    ModelSpec("bundled-tokens"),
    ModelSpec("bundled-tokens", keep=(0.5, 0.25)),
)


@pytest.fixture
def works(assets, monkeypatch: pytest.MonkeyPatch) -> list:
    """What people ask for, past the caches: predictions, traces, attributions, on few shared models."""
    monkeypatch.setattr(checkpoints, "ASSETS", assets)
    monkeypatch.setattr(registry, "ASSETS", assets)
    _shared.load_once.clear()
    files = {f"sample:{s.id}": assets / "samples" / s.file for s in _shared.samples()}
    photos = {image_id: open_photo(path.read_bytes()) for image_id, path in list(files.items())[:3]}
    monkeypatch.setattr(_shared, "photo", photos.__getitem__)
    path = ModelSpec("bundled-singlepath", budget=0.8 * _shared.loaded(DENSE).dense_macs)
    found = []
    for image_id in photos:
        found += [partial(_shared.prediction.__wrapped__, spec, image_id) for spec in (DENSE, path)]
        found += [partial(_shared.token_trace.__wrapped__, spec, image_id) for spec in (OWN, HALF)]
        for spec in (DENSE, OWN, HALF, path):
            found += [partial(_shared.attributed_once.__wrapped__, spec, image_id, 1, method) for method in METHODS[:2]]
        found += [partial(_shared.attributed_once.__wrapped__, spec, image_id, 0, "rollout") for spec in (DENSE, OWN)]
    return found


def numbers(found: Prediction | TokenTrace | Attribution) -> np.ndarray:
    """All that a finding says, as one row."""
    if isinstance(found, Prediction):
        return found.probs
    if isinstance(found, TokenTrace):
        parts = (found.kept, found.keep_prob, found.package_weight, found.prediction.probs, [found.macs.total])
        return np.concatenate([np.nan_to_num(np.ravel(part).astype(float), nan=-1) for part in parts])
    return np.concatenate([found.values.ravel(), [found.rise or 0, found.delta or 0]])


def at_once(tasks: Sequence[Callable[[], object]]) -> list:
    """All tasks, each in a thread of its own that starts with the others; fails where they wait for one another."""
    found: list = [None] * len(tasks)
    start = threading.Barrier(len(tasks))

    def person(index: int) -> None:
        start.wait()
        found[index] = tasks[index]()

    people = [threading.Thread(target=person, args=(index,), daemon=True) for index in range(len(tasks))]
    for one in people:
        one.start()
    for one in people:
        one.join(PATIENCE_S)
        assert not one.is_alive(), "they wait for one another"
    return found


def test_twenty_people_at_once_get_what_each_would_get_alone(works) -> None:
    alone = [numbers(work()) for work in works]
    orders = [np.random.default_rng(number).permutation(len(works))[:12] for number in range(PEOPLE)]
    tasks = [lambda order=order: [numbers(works[index]()) for index in order] for order in orders]
    for order, found in zip(orders, at_once(tasks), strict=True):
        for index, values in zip(order, found, strict=True):
            np.testing.assert_allclose(values, alone[index], atol=2e-6, err_msg=str(works[index]))


def test_people_who_all_load_and_run_models_for_the_first_time_do_not_wait_for_one_another(works) -> None:
    for _ in range(3):
        _shared.load_once.clear()
        at_once(works[:PEOPLE])


def test_one_model_serves_all_and_is_left_as_it_was(works) -> None:
    model = _shared.loaded(OWN)
    assert all(found is model for found in at_once([partial(_shared.loaded, OWN)] * PEOPLE))
    at_once(works)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(module, name) for module in model.model.modules() for name in hooks)


def test_prediction_does_not_wait_for_an_attribution(works) -> None:
    with _shared.attribution_lock(), ThreadPoolExecutor(1) as other:
        other.submit(works[0]).result(timeout=20)


def test_measurement_waits_for_both_so_that_nobody_is_timed_with_another(works) -> None:
    for lock in (_shared.attribution_lock(), _shared.inference_lock()):
        with ThreadPoolExecutor(1) as other:
            with lock:
                image_id = works[0].args[1]
                waiting = other.submit(_shared.measured.__wrapped__, (DENSE,), image_id, 1)
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=0.3)
            assert waiting.result(timeout=60)[0].median_ms > 0
