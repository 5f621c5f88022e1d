"""A PiT on the command line: predict, describe, evaluate, finetune, schedule, bench, and one sentence for the rest."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from core.__main__ import main
from core.models.cards import SelectorCard
from core.models.weights import read_card, save_checkpoint
from tests.tiny import draw_folder
from tests.tiny_pit import BLOCKS, PIT_CARD, TINY_PIT, pit_backbone, pit_token_model

KEEP = (0.7, 0.5, 0.25, 0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pit")
    draw_folder(folder / "data", per_class=6)
    save_checkpoint(folder / "dense.safetensors", pit_backbone(), PIT_CARD)
    card = dataclasses.replace(PIT_CARD, selectors=SelectorCard(BLOCKS, KEEP, False))
    save_checkpoint(folder / "tokens.safetensors", pit_token_model(), card)
    torch.manual_seed(0)
    return folder


def run(capsys, *arguments: object) -> tuple[int, dict | None, str]:
    """Exit status, the JSON, and what was said on stderr."""
    status = main([*map(str, arguments), "--json", "--device", "cpu"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out.strip() else None, err


def test_predict_tells_how_many_of_which_grid_are_kept(capsys, place) -> None:
    photo = place / "data/val/red/000.png"
    status, told, _ = run(
        capsys, "predict", photo, "--model", place / "tokens.safetensors", "--keep", "0.7,0.5,0.25,0.5"
    )
    assert status == 0
    (image,) = told["images"]
    assert image["kept"] == [35, 8, 4, 2]
    assert image["grids"] == [[7, 7], [4, 4], [4, 4], [2, 2]]
    assert image["macs"] < image["dense_macs"]


def test_describe_names_the_grid_of_each_selector(capsys, place) -> None:
    status, told, _ = run(capsys, "describe", "--model", place / "tokens.safetensors")
    assert status == 0
    assert told["family"] == "pit"
    assert told["ffn_hidden"] == [32, 32, 64, 64, 64, 64, 128, 128]
    assert told["selectors"][1] == {"block": 3, "keep": 0.5, "grid": [4, 4]}


def test_evaluate_compares_with_random_dropping(capsys, place) -> None:
    found = [
        run(capsys, "evaluate", "--model", place / "tokens.safetensors", "--data", place / "data", *more)[1]
        for more in ((), ("--method", "random"))
    ]
    assert found[0]["mean_macs"] == found[1]["mean_macs"] < found[0]["dense_macs"]


def test_finetune_trains_selectors_on_both_grids_and_saves_what_predict_reads(capsys, place) -> None:
    out = place / "run"
    status, told, err = run(
        capsys, "finetune", "--model", place / "dense.safetensors", "--data", place / "data", "--out", out,
        "--selectors", "1,3,7", "--targets", "0.7,0.5,0.75", "--epochs", 1, "--batch", 6, "--workers", 0,
    )  # fmt: skip
    assert status == 0, err
    card = read_card(Path(told["weights"]))
    assert card.geometry == TINY_PIT
    assert card.selectors.blocks == (1, 3, 7)
    assert run(capsys, "predict", place / "data/val/red/000.png", "--model", told["weights"])[0] == 0


def test_schedule_meets_macs(capsys, place) -> None:
    status, told, _ = run(
        capsys, "schedule", "--model", place / "dense.safetensors", "--selectors", "1,3,7", "--targets", "80%"
    )
    assert status == 0
    assert told["keep"][0] == told["keep"][1] == told["keep"][2]  # powers begin anew on each grid


def test_bench_measures_a_pit(capsys, place) -> None:
    status, told, _ = run(
        capsys, "bench", "--model", place / "tokens.safetensors", "--keep", "0.7,0.5,0.25,0.5", "--batch", 3,
        "--repeats", 4,
    )  # fmt: skip
    assert status == 0
    assert told["rows"][0]["kept"] == [[35, 35], [8, 8], [4, 4], [2, 2]]


SINGLE, TABLE = "Single-path pruning cannot take pit models", "A latency table holds blocks of one width"
SCHEDULE = ("schedule", "--model", "DENSE")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "--model", "DENSE", "--data", "DATA", "--out", "OUT"), SINGLE),
        (("predict", "PHOTO", "--model", "DENSE", "--budget", "60%"), SINGLE),
        ((*SCHEDULE, "--data", "DATA", "--targets", "5ms"), TABLE),
        ((*SCHEDULE, "--selectors", "2", "--targets", "0.5"), "No selector can stand before block 2"),
        ((*SCHEDULE, "--selectors", "9", "--targets", "0.5"), "Selectors stand before blocks 1 to 7"),
        (("bench", "--model", "DENSE", "--table", "OUT"), TABLE),
        (("predict", "PHOTO", "--model", "TOKENS", "--keep", "0.5,0.4,0.5,1"), "never rise"),
    ],
)
def test_what_a_pit_does_not_take_is_one_sentence(capsys, place, arguments, said) -> None:
    names = {
        "DENSE": place / "dense.safetensors",
        "TOKENS": place / "tokens.safetensors",
        "DATA": place / "data",
        "PHOTO": place / "data/val/red/000.png",
        "OUT": place / "out.csv",
    }
    status, told, err = run(capsys, *(names.get(each, each) for each in arguments))
    assert status == 2
    assert told is None
    assert said in err
    assert len(err.strip().splitlines()) == 1
