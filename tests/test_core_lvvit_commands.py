"""LV-ViT through the command line: from scratch to selectors, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.__main__ import main
from core.config import ModelSpec
from core.inference.attribution import attribute
from core.models.load import load
from core.photos.image import open_photo
from tests.lvvit import random_state
from tests.tiny import draw_folder

LOOP = ["--batch", "16", "--workers", "0", "--precision", "no", "--warmup-epochs", "0"]
SIZE = ["--img-size", "32", "--patch", "8", "--stem-channels", "8", "--width", "32", "--depth", "4", "--heads", "2"]


def call(capsys, *arguments: str | Path) -> dict:
    """Run with --json; stdout must be one JSON object."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A dense LV-ViT trained from scratch, one with selectors made of it, photos, and a released file."""
    root = tmp_path_factory.mktemp("lvvit")
    draw_folder(root / "data")
    train = [
        "train",
        "--model",
        "lvvit",
        "--data",
        root / "data",
        "--out",
        root / "dense",
        "--epochs",
        8,
        "--mixup",
        0,
        "--cutmix",
        0,
    ]
    assert main([str(a) for a in (*train, *SIZE, *LOOP)]) == 0
    tune = ["finetune", "--data", root / "data", "--out", root / "tokens", "--epochs", 2, "--lr", "3e-3", *LOOP]
    flags = ["--model", root / "dense" / "model.safetensors", "--selectors", "1,2", "--targets", "0.7,0.4"]
    assert main([str(a) for a in (*tune, *flags)]) == 0
    Image.effect_noise((50, 40), 90).convert("RGB").save(root / "photo.png")
    torch.save(random_state(), root / "released.pth.tar")
    return root


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_colours_from_scratch_and_its_auxiliary_head_with_it(work) -> None:
    assert metrics(work / "dense")[-1]["val_top1"] > 0.9
    losses = [line["aux_loss"] for line in metrics(work / "dense")]
    assert losses[-1] < losses[0] - 0.02


def test_selectors_are_trained_into_it(work) -> None:
    last = metrics(work / "tokens")[-1]
    assert last["val_top1"] > 0.9
    assert last["val_kept"] == pytest.approx([0.7, 0.4], abs=0.1)
    card = load(ModelSpec(str(work / "tokens" / "model.safetensors"))).card
    assert (card.family, card.selectors.blocks) == ("lvvit", (1, 2))


def test_predict_evaluate_and_describe_know_it(work, capsys) -> None:
    model = work / "tokens" / "model.safetensors"
    (row,) = call(capsys, "predict", work / "photo.png", "--model", model, "--keep", "0.5,0.25")["images"]
    assert row["kept"] == [8, 4]
    assert row["macs"] < row["dense_macs"]
    found = call(capsys, "evaluate", "--model", model, "--data", work / "data", "--keep", "0.5,0.25", "--workers", 0)
    assert found["mean_macs"] == row["macs"]
    told = call(capsys, "describe", "--model", model)
    assert (told["family"], [s["block"] for s in told["selectors"]]) == ("lvvit", [1, 2])
    assert call(capsys, "describe", "--model", work / "released.pth.tar")["classes"] == 5
    assert main(["describe", "--model", "lvvit_s"]) == 0
    assert "6.551 GMACs, dense 6.551 (6.476 without its auxiliary head)" in capsys.readouterr().out


def test_bench_schedule_and_table_know_it(work, capsys) -> None:
    dense, model = work / "dense" / "model.safetensors", work / "tokens" / "model.safetensors"
    for row in call(capsys, "bench", "--model", model, "--batch", 3, "--repeats", 4)["rows"]:
        assert row["efficiency"] == pytest.approx(row["speedup"] / row["mac_ratio"])
    call(capsys, "bench", "--table", work / "t.csv", "--model", dense, "--repeats", 4)
    found = call(capsys, "schedule", "--model", dense, "--selectors", "1,2", "--targets", "80%")
    assert found["macs"] <= 0.8 * call(capsys, "describe", "--model", dense)["macs"]
    rows = {row["name"]: row for row in call(capsys, "schedule")["schedules"]}
    assert rows["lvvit_s_4.3g"]["macs"] / 1e9 == pytest.approx(4.3, abs=0.05)


def test_training_goes_on_from_it_with_finer_patches(work) -> None:
    arguments = ["--data", work / "data", "--start-from", work / "dense" / "model.safetensors", "--img-size", "48"]
    flags = ["--out", work / "finer", "--epochs", 1, "--lr", "1e-5", *LOOP]
    assert main([str(a) for a in ("train", *arguments, *flags)]) == 0
    assert load(ModelSpec(str(work / "finer" / "model.safetensors"))).card.geometry.grid == (6, 6)


@pytest.mark.parametrize("run", ["dense", "tokens"])
def test_attributions_add_up_to_the_rise_of_the_answer(run, work) -> None:
    loaded = load(ModelSpec(str(work / run / "model.safetensors")))
    photo = open_photo((work / "data" / "val" / "red" / "000.png").read_bytes())
    found = attribute(loaded, photo, 2, "gradients")
    assert found.values.sum() == pytest.approx(found.rise, abs=0.05 * abs(found.rise))
    assert attribute(loaded, photo, 2, "rollout").values.shape == (4, 4)


SINGLE_PATH = "Single-path pruning cannot take lvvit models; it takes "


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("search --model {dense} --data {data} --out {work}/no", SINGLE_PATH),
        ("search --model lvvit_s --data {data} --out {work}/no", SINGLE_PATH),
        ("finetune --model {dense} --data {data} --out {work}/no --budget 60%", SINGLE_PATH),
        ("predict {work}/photo.png --model {tokens} --budget 60%", SINGLE_PATH),
        ("describe --model lvvit_s --budget 4.3", SINGLE_PATH),
        ("bench --training --model {dense}", SINGLE_PATH),
        ("predict {work}/photo.png --model lvvit_m", "do not come by name; download the file"),
        ("fetch lvvit_s", "do not come by name; download the file"),
        ("train --model lvvit_s --pretrained --data {data} --out {work}/no", "do not come by name"),
        ("train --model lvvit_s --img-size 100 --data {data} --out {work}/no", "takes a multiple of 16"),
        ("train --model lvvit --patch 5 --data {data} --out {work}/no", "not possible"),
        ("train --model lvvit --heads 0 --data {data} --out {work}/no", "not possible"),
    ],
)
def test_what_it_cannot_do_gets_one_sentence(command, sentence, work, capsys) -> None:
    files = {name: work / name / "model.safetensors" for name in ("dense", "tokens")}
    assert main(command.format(work=work, data=work / "data", **files).split()) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert not (work / "no").exists()


@pytest.mark.slow
def test_it_is_exported_in_our_format_and_as_graphs(work, capsys) -> None:
    dense = work / "dense" / "model.safetensors"
    files = call(capsys, "export", "--model", dense, "--out", work / "out", "--photos", work / "photo.png")["files"]
    assert [file["form"] for file in files] == ["dense"] * 3
    assert all(file["largest_difference"] < 1e-5 for file in files)
