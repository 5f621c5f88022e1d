"""The command line: one JSON object on stdout, one line and exit status 2 for wrong input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from core.__main__ import main
from core.evaluation.evaluate import evaluate, paired_difference
from core.models.cards import SelectorCard, SinglePathCard
from core.models.runners import dense_runner
from core.models.weights import save_checkpoint
from core.results import Evaluation
from tests.tiny import CARD, backbone, draw_folder, images, single_path_model, token_model


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Three models, a photo and a folder of photos."""
    root = tmp_path_factory.mktemp("cli")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD)
    tokens = replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    save_checkpoint(root / "tokens.safetensors", token_model(), tokens)
    single = replace(CARD, single_path=SinglePathCard(0.01, True))
    save_checkpoint(root / "single.safetensors", single_path_model(), single)
    Image.effect_noise((50, 40), 90).convert("RGB").save(root / "photo.png")
    (root / "text.png").write_text("no picture")
    (root / "empty").mkdir()
    draw_folder(root / "data", per_class=6)
    (root / "data" / "val" / "other").mkdir()
    Image.new("RGB", (8, 8)).save(root / "data" / "val" / "other" / "x.png")
    draw_folder(root / "broken", per_class=2)
    (root / "broken" / "val" / "red" / "zzz.png").write_text("no picture")
    return root


def call(capsys, *arguments: str | Path) -> dict:
    """Run with --json; stdout must be one JSON object."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_models_lists_every_source_with_the_documented_fields(capsys) -> None:
    rows = call(capsys, "models")["models"]
    assert {tuple(row) for row in rows} == {("name", "source", "family", "available", "note")}
    assert "deit_tiny_patch16_224.fb_in1k" in {row["name"] for row in rows}


@pytest.mark.parametrize(
    ("model", "flags", "kept"),
    [("dense", [], None), ("tokens", ["--keep", "0.5,0.25,0.125"], [8, 4, 2]), ("single", ["--budget", "60%"], None)],
)
def test_predict_gives_the_documented_object(model, flags, kept, work, capsys) -> None:
    found = call(capsys, "predict", work / "photo.png", "--model", work / f"{model}.safetensors", *flags)
    (row,) = found["images"]
    assert list(row) == ["file", "top5", "macs", "dense_macs", "patches", "kept", "latency_ms", "dense_latency_ms"]
    assert row["kept"] == kept
    assert row["patches"] == 16
    assert sum(guess["prob"] for guess in row["top5"]) == pytest.approx(1, abs=1e-6)  # three classes in all
    assert (row["macs"] < row["dense_macs"]) is (model != "dense")
    assert set(row["latency_ms"]) == {"median", "iqr", "device", "threads", "batch", "engine"}
    beside = row["dense_latency_ms"]  # timed in turns with a pruned one
    assert (beside is None) is (model == "dense")
    assert set(beside or row["latency_ms"]) == set(row["latency_ms"])


def test_describe_gives_the_documented_object_within_the_budget(work, capsys) -> None:
    found = call(capsys, "describe", "--model", work / "single.safetensors", "--budget", "50%")
    assert list(found) == (
        [
            "model",
            "family",
            "grid",
            "classes",
            "mixers",
            "ffn_hidden",
            "macs",
            "dense_macs",
            "params",
            "params_stored",
            "asked_macs",
            "selectors",
        ]
    )
    assert found["macs"] <= found["asked_macs"] == found["dense_macs"] / 2
    assert found["params"] < found["params_stored"]
    assert len(found["mixers"]) == len(found["ffn_hidden"]) == 4
    assert found["selectors"] is None


def test_describe_tells_where_selectors_stand(work, capsys) -> None:
    found = call(capsys, "describe", "--model", work / "tokens.safetensors")
    assert found["selectors"] == [{"block": 1, "keep": 0.7}, {"block": 2, "keep": 0.5}, {"block": 3, "keep": 0.3}]
    assert found["macs"] is None, "the cost depends on the photo"


@pytest.mark.parametrize("model", ["dense", "tokens", "single"])
def test_evaluate_counts_photos_of_unknown_classes_as_left_out(model, work, capsys) -> None:
    found = call(capsys, "evaluate", "--model", work / f"{model}.safetensors", "--data", work / "data", "--workers", 0)
    promised = ["model", "data", "images", "left_out", "top1", "top5", "mean_macs", "dense_macs", "images_per_s"]
    assert set(promised) | {"unreadable", "skipped", "waiting_share"} == set(found)
    assert 0 < found["waiting_share"] < 1
    assert found["images"] == 18
    assert found["left_out"] == 1
    assert found["top5"] == 1.0, "the model has three classes"
    assert (found["mean_macs"] == found["dense_macs"]) is (model == "dense")


def test_evaluate_names_a_photo_that_cannot_be_read_and_goes_on(work, capsys) -> None:
    arguments = ["evaluate", "--model", work / "dense.safetensors", "--data", work / "broken", "--workers", 0, "--json"]
    assert main([str(a) for a in arguments]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["images"], found["unreadable"]) == (6, 1)
    assert "zzz.png" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "{work}/missing.png", "--model", "{work}/dense.safetensors"], "cannot be read"),
        (["predict", "{work}/text.png", "--model", "{work}/dense.safetensors"], "not a picture that can be read"),
        (["predict", "{work}/photo.png", "--model", "nothing"], "`python -m core models`"),
        (
            ["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--keep", "0.3,0.5,0.2"],
            "never rise",
        ),
        (["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--keep", "half"], "commas"),
        (["predict", "{work}/photo.png", "--model", "{work}/dense.safetensors", "--device", "toaster"], "--device cpu"),
        (["describe", "--model", "{work}/single.safetensors", "--budget", "lots"], "not 'lots'"),
        (["describe", "--model", "{work}/single.safetensors", "--budget", "1e-7"], "cannot be reached"),
        (["describe", "--model", "{work}/dense.safetensors", "--budget", "50%"], "no gates"),
        (["evaluate", "--model", "{work}/dense.safetensors", "--data", "{work}/nowhere"], "not a folder"),
        (["evaluate", "--model", "bundled-nothing", "--data", "{work}/data"], "There is no model"),
        (["predict", "{work}/empty", "--model", "{work}/dense.safetensors"], "holds no photos"),
        (["predict", "{work}/photo.png", "--model", "{work}/dense.safetensors", "--resume"], "--out"),
        (["predict", "{work}/text.png", "--model", "{work}/dense.safetensors", "--out", "{work}/o"], "not a picture"),
        (
            ["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--threshold", "nan"],
            "between 0 and 1",
        ),
        (["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--keep", "nan,nan,nan"], "above 0"),
        (["describe", "--model", "{work}/single.safetensors", "--budget", "nan"], "above 0"),
        (["describe", "--model", "vit_tiny_r_s16_p8_224"], "cannot be pruned"),
        (["predict"], "--help"),
        (["models", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_status_2(arguments, sentence, work, capsys) -> None:
    assert main([part.format(work=work) for part in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.strip().count("\n") == 0


def test_folders_without_a_known_class_are_refused(work, tmp_path, capsys) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    assert main(["evaluate", "--model", str(work / "dense.safetensors"), "--data", str(tmp_path)]) == 2
    assert "No folder" in capsys.readouterr().err


def test_evaluation_in_batches_equals_evaluation_at_once() -> None:
    model, batch = backbone(), images(10)
    labels = model(batch).argmax(dim=1)
    labels[:3] = (labels[:3] + 1) % 3  # three wrong ones
    settings = {"dense_macs": 1, "patches": 16}
    whole = evaluate(dense_runner(model, 7), [(batch, labels)], **settings)
    parts = evaluate(dense_runner(model, 7), list(zip(batch.split(4), labels.split(4), strict=True)), **settings)
    assert whole.top1 == parts.top1 == pytest.approx(0.7)
    assert parts.correct == (False,) * 3 + (True,) * 7
    assert parts.mean_macs == 7


def test_paired_difference_of_four_photos_is_worked_out_by_hand() -> None:
    def result(correct: tuple[bool, ...]) -> Evaluation:
        return Evaluation(4, 0, sum(correct) / 4, 1.0, 1.0, 1, 1.0, correct)

    mean, half = paired_difference(result((True, True, True, False)), result((True, False, False, False)))
    assert mean == pytest.approx(0.5)  # differences 0, 1, 1, 0: sd sqrt(1/3)
    assert half == pytest.approx(1.96 * (1 / 3) ** 0.5 / 2)
