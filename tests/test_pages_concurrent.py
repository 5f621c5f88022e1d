"""Twenty people at once on one server: models are shared, and everybody gets what one gets alone."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from threading import Event

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.__main__ import main
from core.config import ModelSpec
from core.latency import measure as latency
from core.models import load as checkpoints
from core.models import registry
from core.photos.image import open_photo
from core.results import Prediction, TokenTrace
from core.results.attributions import METHODS, Attribution
from pages.parts.shared import selection
from pages.server import images, inference, locks, models, timings
from pages.server.line import Line
from tests import test_pages
from viz.cost import saving_sentence

assets, visit = test_pages.assets, test_pages.visit
PEOPLE = 20
PATIENCE_S = 600
"""No claim: where it is reached, people wait for one another for ever."""
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
    models.load_once.clear()
    files = {f"sample:{s.id}": assets / "samples" / s.file for s in images.samples()}
    photos = {image_id: open_photo(path.read_bytes()) for image_id, path in list(files.items())[:3]}
    monkeypatch.setattr(images, "photo", photos.__getitem__)
    path = ModelSpec("bundled-singlepath", budget=0.8 * models.loaded(DENSE).dense_macs)
    found = []
    for image_id in photos:
        found += [partial(inference.prediction.__wrapped__, spec, image_id) for spec in (DENSE, path)]
        found += [partial(inference.token_trace.__wrapped__, spec, image_id) for spec in (OWN, HALF)]
        for spec in (DENSE, OWN, HALF, path):
            found += [
                partial(inference.attributed_once.__wrapped__, spec, image_id, 1, method) for method in METHODS[:2]
            ]
        found += [partial(inference.attributed_once.__wrapped__, spec, image_id, 0, "rollout") for spec in (DENSE, OWN)]
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
    orders = [np.random.default_rng(number).permutation(len(works))[:6] for number in range(PEOPLE)]
    tasks = [lambda order=order: [numbers(works[index]()) for index in order] for order in orders]
    for order, found in zip(orders, at_once(tasks), strict=True):
        for index, values in zip(order, found, strict=True):
            np.testing.assert_allclose(values, alone[index], atol=2e-6, err_msg=str(works[index]))


def test_people_who_all_load_and_run_models_for_the_first_time_do_not_wait_for_one_another(works) -> None:
    for _ in range(3):
        models.load_once.clear()
        at_once(works[:PEOPLE])


def test_one_model_serves_all_and_is_left_as_it_was(works) -> None:
    model = models.loaded(OWN)
    assert all(found is model for found in at_once([partial(models.loaded, OWN)] * PEOPLE))
    at_once(works)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not any(getattr(module, name) for module in model.model.modules() for name in hooks)


def test_prediction_does_not_wait_for_an_attribution(works) -> None:
    with locks.attribution_lock(), ThreadPoolExecutor(1) as other:
        other.submit(works[0]).result(timeout=PATIENCE_S)


@pytest.mark.parametrize("busy", ["inference_lock", "attribution_lock", "engine_lock"])
def test_measurement_waits_until_nobody_else_computes_so_that_nobody_is_timed_with_another(
    works, monkeypatch, busy
) -> None:
    waits, holds = Event(), []
    line = Line(lambda before: waits.set() or nullcontext())
    monkeypatch.setattr(locks, busy, lambda: line)
    monkeypatch.setattr(latency, "measure_latency", lambda *given, **more: holds.append(len(line)))
    with ThreadPoolExecutor(1) as other:
        with line:
            waiting = other.submit(timings.measured.__wrapped__, (DENSE,), works[0].args[1], 1)
            waits.wait()
            assert not holds
        waiting.result(timeout=PATIENCE_S)
    assert holds == [1], "nobody else computes while it is timed"


THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.95)


@pytest.fixture
def truth(visit, capsys) -> dict[float, str]:
    """By threshold, the headline that `predict --threshold` gives for the first sample."""
    found = {}
    photo = str(registry.ASSETS / "samples" / images.samples()[0].file)
    for threshold in THRESHOLDS:
        main(
            ["predict", photo, "--model", "bundled-tokens", "--threshold", str(threshold), "--json", "--device", "cpu"]
        )
        (said,) = json.loads(capsys.readouterr().out)["images"]
        found[threshold] = f"Threshold {threshold:.2f}: {saving_sentence(said['macs'], said['dense_macs'])}"
    assert len({text.partition(": ")[2] for text in found.values()}) > 1, "thresholds that tell nothing apart"
    return found


def at_threshold(at: AppTest, threshold: float) -> AppTest:
    """The Tokens page after its slider was moved."""
    return at.slider(key="threshold").set_value(threshold).run()


def test_sessions_that_move_their_thresholds_in_turns_each_get_what_predict_gives(visit, truth) -> None:
    people = [visit("tokens", method="Threshold") for _ in range(3)]
    for step in range(len(THRESHOLDS)):
        asked = [THRESHOLDS[(step + 2 * number) % len(THRESHOLDS)] for number in range(len(people))]
        for at, threshold in zip(people, asked, strict=True):
            at_threshold(at, threshold)
        for at, threshold in zip(people, asked, strict=True):
            assert at.slider(key="threshold").value == threshold
            assert at.header[0].value == truth[threshold]


def test_a_session_whose_page_runs_in_the_middle_of_anothers_leaves_that_its_threshold(
    visit, truth, monkeypatch
) -> None:
    ann, bob = (visit("tokens", method="Threshold") for _ in range(2))
    pick_spec, inside = selection.pick_spec, []

    def interrupted(name: str, mode: str):
        found = pick_spec(name, mode)
        if not inside:  # Ann's setting is read, her photo has not run yet: Bob's whole page runs now
            inside.append(None)
            at_threshold(bob, 0.95)
        return found

    monkeypatch.setattr(selection, "pick_spec", interrupted)
    at_threshold(ann, 0.0)
    assert inside
    assert ann.header[0].value == truth[0.0]
    assert bob.header[0].value == truth[0.95]


def test_whoever_waits_for_others_is_told_how_many_are_before(monkeypatch) -> None:
    said = []
    monkeypatch.setattr(locks.st, "spinner", lambda text: said.append(text) or nullcontext())
    monkeypatch.setattr(locks, "get_script_run_ctx", lambda **more: object())
    line, waits = Line(lambda before: waits.set() or locks._waiting(before)), Event()
    with ThreadPoolExecutor(1) as other:
        with line:
            waiting = other.submit(lambda: line.__enter__() or line.__exit__())
            waits.wait()
        waiting.result(timeout=PATIENCE_S)
    assert said[0] == "This server is busy: 1 before you …"
