"""What was recorded of pruning without training, on the budget page's frontier."""

from dataclasses import asdict, replace

import pytest

from core.config import ModelSpec
from core.evaluation import untrained
from core.evaluation.sweep import weights_fingerprint
from core.evaluation.untrained import RANKED, SCORED, Record, read_record
from core.evaluation.untrained import Point as Row
from core.files.json_text import json_text
from pages.parts.budget.untrained import drawn, untrained_sentence, untrained_series
from pages.server import models, records
from viz.savings import Point, Series, savings_data

DENSE = "bundled-dense"


@pytest.fixture
def record(monkeypatch) -> Record:
    """Of the bundled dense model: four rows, one of them deep below it, one of another way."""
    dense = models.loaded(ModelSpec(DENSE))  # whatever stands there under this name in a run of many tests
    rows = (
        Row(RANKED, "--keep 0.9", 0.8, 0.75, -0.01, 0.02, 400),
        Row(RANKED, "--keep 0.3", 0.3, 0.40, -0.36, 0.05, 400),
        Row(SCORED, "--budget 75%", 0.75, 0.72, -0.04, 0.02, 400),
        Row("ToMe", "0.9", 0.8, 0.7, -0.06, 0.02, 400),
    )
    fingerprint = weights_fingerprint(dense.model, dense.card)
    made = Record(DENSE, fingerprint, "photos", None, 0, 400, 0.76, dense.dense_macs, rows)
    monkeypatch.setattr(records, "bundled_record", lambda: made)
    records.untrained_of.clear()
    yield made
    records.untrained_of.clear()


def test_both_methods_are_a_kind_of_point_of_their_own(record) -> None:
    tokens, path = untrained_series(DENSE)
    assert (tokens.name, path.name) == ("Tokens, untrained", "Single path, untrained")
    assert tokens.hollow
    assert path.hollow
    first = tokens.points[0]
    assert (first.macs, first.ms, first.top1, first.label) == (0.8 * record.dense_macs, None, 0.75, "--keep 0.9")
    assert first.margin == pytest.approx(1.96 * (0.75 * 0.25 / 400) ** 0.5)
    trained = Series("Tokens", [Point(1e8, None, 0.7, "x")])
    sent = savings_data([], [trained, tokens])["series"]
    assert [one["hollow"] for one in sent] == [False, True]
    assert sent[0]["look"] == sent[1]["look"]


def test_what_lies_deep_below_dense_is_not_drawn_and_that_is_said(record) -> None:
    series = untrained_series(DENSE)
    assert [len(made.points) for made in drawn(series, DENSE)] == [1, 1]
    said = untrained_sentence(series, DENSE)
    assert "`python -m core untrained` on 400 photos, of which the dense model has 76.0% right." in said
    assert said.endswith("1 that lie more than 25 points below dense are in the table alone.")


def test_a_record_of_other_weights_is_not_shown(record, monkeypatch) -> None:
    monkeypatch.setattr(records, "bundled_record", lambda: replace(record, weights="0" * 16))
    assert untrained_series(DENSE) == []
    records.untrained_of.clear()
    monkeypatch.setattr(records, "bundled_record", lambda: replace(record, model="other"))
    assert untrained_series(DENSE) == []
    assert untrained_sentence([], DENSE) == ""
    assert untrained_series(None) == []


def test_a_record_is_read_as_it_was_written(record, tmp_path) -> None:
    (tmp_path / "a.json").write_text(json_text(asdict(record)))
    assert read_record(tmp_path / "a.json") == record
    assert read_record(tmp_path / "none.json") is None
    assert untrained.RECORD.parent.name == "assets"
