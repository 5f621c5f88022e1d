"""The tabs of Tokens that play with the model: each runs when somebody asks, and tells what ran."""

import dataclasses
import re

import numpy as np

from pages.parts.shared.selection import KEEP_STEPS
from pages.server import inference
from tests.test_pages import assets, texts, visit  # noqa: F401


def test_making_it_fail_runs_every_step_and_tells_where_the_answer_flips(visit, monkeypatch) -> None:  # noqa: F811
    at = visit("tokens", details="Make it fail")
    assert "flips" not in texts(at)
    ran, real = [], inference.token_trace

    def counted(spec, image_id):
        ran.append(spec.keep)
        return real(spec, image_id)

    monkeypatch.setattr(inference, "token_trace", counted)
    at.button(key="make_it_fail").click().run()
    assert not at.exception
    assert len({keep for keep in ran if keep}) >= len(KEEP_STEPS)
    said = texts(at)
    assert re.search(rf"(flips at a keep ratio of \d+ %|It does not fail).*{len(KEEP_STEPS)} runs", said)
    ran.clear()
    at.run()
    assert len(ran) < 3, "what was found stays, nothing runs again"
    assert said == texts(at)


def test_the_slider_goes_to_the_setting_that_fails(visit, monkeypatch) -> None:  # noqa: F811
    real = inference.token_trace

    def failing(spec, image_id):
        """These weights say the same at every setting; below 40 % we have them say something else."""
        trace = real(spec, image_id)
        if spec.keep is None or spec.keep[0] >= 0.4:
            return trace
        said = dataclasses.replace(trace.prediction, probs=np.roll(trace.prediction.probs, 1))
        return dataclasses.replace(trace, prediction=said)

    monkeypatch.setattr(inference, "token_trace", failing)
    at = visit("tokens", details="Make it fail", method="The model")
    at.button(key="make_it_fail").click().run()
    assert "flips at a keep ratio of 35 %" in texts(at)
    assert re.search(r"patch(es)? (was|were) lost between|None of the \d+ patches lost", texts(at))
    at.button(key="set_to_failure").click().run()
    assert not at.exception
    assert at.query_params["keep"] in ("0.35", ["0.35"])
    assert "Keep ratio 35 %" in texts(at)
