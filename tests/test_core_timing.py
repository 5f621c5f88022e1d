"""The one function that times: how often it calls what, what it counts, and what it keeps away meanwhile."""

import gc
import hashlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.baselines.plans import fit_plan
from core.baselines.run import peer_runner
from core.costs.macs import count_macs
from core.evaluation.evaluate import attention_runner, evaluate, random_runner, repeatable_random_runner
from core.evaluation.sweep import Task, sweep, unnamed
from core.families import deit
from core.latency import engines
from core.latency.engines import prepare
from core.latency.measure import CPU, QUIET, interleaved, measure_latency, timed
from core.models.runners import Baseline
from core.photos.listing import PhotoList
from core.photos.loader import Photos
from core.training.cost import SLIDER_MS, compare_steps, derive_ms
from core.training.loop import make_accelerator
from core.training.objectives import task_loss
from tests.clocks import HandClock, a_millisecond_per_mac, is_free
from tests.tiny import CLASSES, TINY, backbone, images, token_model

ROOT = Path(__file__).resolve().parent.parent


# Calls


def test_works_take_turns_and_are_called_as_often_as_is_said_and_not_once_more(monkeypatch) -> None:
    clock, order = HandClock(monkeypatch), []
    works = [clock.taking(ms, lambda name=name: order.append(name)) for ms, name in ((3, "a"), (5, "b"))]
    times = interleaved(works, 4, CPU, 2)
    assert "".join(order) == "aabb" + "ab" * 4
    np.testing.assert_allclose(times, [[3, 5]] * 4)


def test_nothing_but_the_call_itself_is_timed(monkeypatch) -> None:
    clock, rounds = HandClock(monkeypatch), []
    slow = clock.taking(1000)
    times = interleaved(
        [clock.taking(2)], 3, CPU, 1, between=slow, on_round=lambda done, of: rounds.append((done, of)) or slow()
    )
    np.testing.assert_allclose(times, [[2]] * 3)
    assert rounds == [(1, 3), (2, 3), (3, 3)]


def test_others_may_pass_before_each_timed_call_and_each_works_warm_up_while_nothing_is_held(monkeypatch) -> None:
    clock, order = HandClock(monkeypatch), []
    works = [clock.taking(1, lambda name=name: order.append(name)) for name in "ab"]
    interleaved(works, 2, CPU, 2, between=lambda: order.append("|" if is_free(QUIET) else "held"))
    assert "".join(order) == "|aa|bb" + "|a|b" * 2


def test_without_a_warm_up_nothing_runs_before_the_first_timed_call(monkeypatch) -> None:
    calls = []
    interleaved([HandClock(monkeypatch).taking(1, lambda: calls.append(1))], 5, CPU, 0)
    assert len(calls) == 5


def test_median_and_quartiles_are_those_of_the_timed_calls_alone(monkeypatch) -> None:
    clock = HandClock(monkeypatch)
    waits = iter([500, 500, 500, 8, 1, 4, 2, 16])  # three of warm-up

    def model(_: torch.Tensor) -> None:
        clock.now += next(waits) / 1e3

    (found,) = measure_latency([model], torch.zeros(2, 3, 4, 4), repeats=5)
    assert found.median_ms == pytest.approx(4)
    assert found.iqr_ms == pytest.approx(8 - 2)
    assert (found.device, found.batch, found.repeats, found.dtype) == ("cpu", 2, 5, "float32")
    with pytest.raises(ValueError, match="3 repeats give no quartiles"):
        measure_latency([model], torch.zeros(1, 3, 4, 4), repeats=3)


def test_a_call_ends_when_the_device_has_done_what_it_was_given_and_pays_for_nothing_before(monkeypatch) -> None:
    clock, left = HandClock(monkeypatch), [0.007]  # from before

    def synchronize(device: torch.device) -> None:
        assert device.type == "cuda"
        while left:
            clock.now += left.pop()

    def launch() -> str:
        left.append(0.005)
        return "found"

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    took_ms, found = timed(launch, torch.device("cuda"))
    assert (found, took_ms) == ("found", pytest.approx(5))


def test_works_need_no_gradients_unless_they_are_asked_for_and_garbage_waits() -> None:
    seen = []
    for gradients in (False, True):
        interleaved([lambda: seen.append((torch.is_inference_mode_enabled(), gc.isenabled()))], 1, CPU, 0,
                    gradients=gradients)  # fmt: skip
    with torch.inference_mode():
        interleaved([lambda: seen.append(torch.is_grad_enabled())], 1, CPU, 0, gradients=True)
    assert seen == [(True, False), (False, False), True]
    assert gc.isenabled()


# What is kept away


def test_nobody_compiles_beside_what_is_timed() -> None:
    seen = []
    interleaved([lambda: seen.append(is_free(QUIET))], 2, CPU, 1)
    assert seen == [False] * 3
    assert is_free(QUIET)


@pytest.mark.parametrize(("engine", "made_by"), [("compile", "_compiled"), ("openvino", "_drawn")])
def test_nothing_is_timed_beside_an_engine_that_is_made_ready(engine, made_by, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(engines, made_by, lambda *_: seen.append(is_free(QUIET)))
    prepare(torch.nn.Identity(), engine, torch.zeros(2, 3))
    assert seen == [False]
    assert is_free(QUIET)


def test_whatever_is_timed_is_timed_in_one_place() -> None:
    """By `time.monotonic` commands tell how long is left and when to save, which is no measurement."""
    clocks = re.compile(r"\b(perf_counter|process_time|thread_time|timeit|torch\.utils\.benchmark)\b")
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "core").rglob("*.py")}
    found = {path.relative_to(ROOT).as_posix() for path, source in sources.items() if clocks.search(source)}
    assert found == {"core/latency/measure.py"}


# Training steps


def test_a_search_step_is_held_against_a_dense_step_of_the_same_model(monkeypatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 0.5))  # every draw opens every gate
    with a_millisecond_per_mac(monkeypatch):
        found = compare_steps(TINY, make_accelerator(CPU, "no"), batch=2, repeats=1)
        model, photos = deit.build(TINY).train(), images(2)
        forward_ms, loss = timed(lambda: task_loss(model(photos), torch.tensor([0, 1])))
        backward_ms, _ = timed(loss.backward)
    assert forward_ms == pytest.approx(2 * count_macs(TINY).total)
    assert found.dense_ms == pytest.approx(forward_ms + backward_ms)
    taught = found.distilled_search_ratio - found.search_ratio
    assert taught * found.dense_ms == pytest.approx(forward_ms), "a teacher adds its forward pass"
    assert found.search_ratio > 1, "the search computes every mixer"
    assert (found.batch, found.repeats, found.device, found.precision) == (2, 1, "cpu", "no")


def test_deriving_is_timed_from_gates_that_nobody_has_sorted_yet(monkeypatch) -> None:
    HandClock(monkeypatch, step_s=0.004)
    sorts = []
    argsort = np.argsort
    monkeypatch.setattr(np, "argsort", lambda *given, **how: sorts.append(1) or argsort(*given, **how))
    assert derive_ms(TINY, repeats=5) == pytest.approx(4)
    assert len(sorts) == 1 + 5
    assert SLIDER_MS == 50


# Baselines


class Weighed:
    """A clock that a baseline's own work moves by 1 s a photo, and what is done for it beforehand by 100 s a photo."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = HandClock(monkeypatch)

    def prepare(self, photos: torch.Tensor):
        self.clock.now += 100 * len(photos)

        def run():
            self.clock.now += len(photos)
            return torch.eye(3)[: len(photos)], torch.ones(len(photos)), None

        return run


def test_a_baseline_is_evaluated_at_its_own_speed(monkeypatch) -> None:
    baseline = Baseline(Weighed(monkeypatch).prepare)
    batches = [(images(3), torch.tensor([0, 1, 2])), (images(2), torch.tensor([0, 0]))]
    found = evaluate(baseline, batches, dense_macs=1, patches=16)
    assert found.images_per_s == pytest.approx(1)
    assert (found.images, found.top1) == (5, 0.8)


def test_a_baseline_is_swept_at_its_own_speed(monkeypatch) -> None:
    baseline = unnamed(Baseline(Weighed(monkeypatch).prepare))
    photos = PhotoList([f"{index}.png" for index in range(5)], [0] * 5)
    dataset = Photos(photos, lambda path: Image.new("RGB", (8, 8)), lambda image: torch.zeros(3, 8, 8))
    _, pace = sweep(Task(baseline, CLASSES, CPU, graded=True), photos, dataset, batch=3, workers=0)
    assert (pace.images_per_s, pace.preparing, pace.seconds) == (pytest.approx(1), pytest.approx(500), pytest.approx(5))
    assert pace.passes_ms == [pytest.approx(3000)]


def test_our_models_pass_that_tells_a_rival_how_many_patches_to_keep_is_not_in_the_rivals_time(monkeypatch) -> None:
    model, photos = token_model().fold(), images(2)
    rivals = {
        "random": (random_runner(model, TINY, 0), (photos,)),
        "repeatable": (repeatable_random_runner(model, TINY, 0), (photos, ["a.png", "b.png"])),
        "attention": (attention_runner(model, TINY), (photos,)),
    }
    with torch.inference_mode(), a_millisecond_per_mac(monkeypatch):
        ours, _ = timed(lambda: model.run(photos))
        for name, (rival, given) in rivals.items():
            own, _ = timed(rival.prepare(*given))
            both, _ = timed(partial(rival, *given))
            assert both == pytest.approx(own + ours), name
            if name != "attention":  # which looks at the class token's attention, too
                assert own == pytest.approx(ours), name


@pytest.mark.parametrize("peer", ["tome", "evit", "random-dense"])
def test_only_a_peer_that_draws_is_told_how_by_a_hash_and_before_its_time(peer, monkeypatch) -> None:
    hashed = []
    sha256 = hashlib.sha256
    monkeypatch.setattr("core.baselines.run.hashlib.sha256", lambda data: hashed.append(1) or sha256(data))
    model, photos = backbone(), images(3)
    run = peer_runner(model, fit_plan(peer, TINY, (1, 2), 0.7 * count_macs(TINY).total))
    if peer != "random-dense":
        with torch.inference_mode():
            run(photos)
        assert not hashed
        assert not isinstance(run, Baseline)
        return
    ready = run.prepare(photos)
    assert len(hashed) == 3
    with torch.inference_mode():
        ready()
    assert len(hashed) == 3
