"""Soft token pruning of a Swin on the command line: ranked and trained, and one sentence for what it does not take."""

import dataclasses
import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.config import ModelSpec
from core.costs.windows import Windows, dense_pairs, masked_pairs
from core.inference.removal import compare_removal
from core.models.cards import SelectorCard
from core.models.load import finish, load
from core.models.weights import read_card, save_checkpoint
from core.soft_tokens.decide import top_share
from tests.tiny import draw_folder
from tests.tiny_swin import TOKEN_BLOCKS, TOKEN_SWIN_CARD, dense_swin, images, swin_token_model

KEEP = (0.7, 0.5, 0.25, 0.5)
RATIOS = ",".join(map(str, KEEP))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swin_tokens")
    draw_folder(folder / "data", per_class=6)
    save_checkpoint(folder / "dense.safetensors", dense_swin(), TOKEN_SWIN_CARD)
    card = dataclasses.replace(TOKEN_SWIN_CARD, selectors=SelectorCard(TOKEN_BLOCKS, KEEP, False))
    save_checkpoint(folder / "tokens.safetensors", swin_token_model(), card)
    return folder


def run(capsys, *arguments: object) -> tuple[int, dict | None, str]:
    """Exit status, the JSON, and what was said on stderr."""
    status = main([*map(str, arguments), "--json", "--device", "cpu"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out.strip() else None, err


@pytest.mark.parametrize("more", [(), ("--blocks", "1,3,5,7")])
def test_a_dense_swin_is_ranked_at_once(capsys, place, more) -> None:
    keep, kept = (RATIOS, [101, 18, 9, 5]) if more else ("0.5,0.25", [18, 9])
    photo = place / "data/val/red/000.png"
    status, told, err = run(capsys, "predict", photo, "--model", place / "dense.safetensors", "--keep", keep, *more)
    assert status == 0, err
    assert "ranked by the attention of all tokens" in err
    (image,) = told["images"]
    assert image["kept"] == kept
    assert image["grids"] == ([[12, 12], [6, 6], [6, 6], [3, 3]] if more else [[6, 6], [6, 6]])
    assert image["macs"] < image["dense_macs"]


def test_a_ranked_swin_has_its_usual_places_in_its_longest_stage(place) -> None:
    path = str(place / "dense.safetensors")
    assert load(ModelSpec(path, keep=(0.5, 0.4))).model.blocks == (3, 4)
    assert load(ModelSpec(path, keep=(0.9, 0.8, 0.7))).model.blocks == (3, 4, 5)


def test_one_with_selectors_is_described_evaluated_and_timed(capsys, place) -> None:
    path = place / "tokens.safetensors"
    told = run(capsys, "describe", "--model", path, "--keep", RATIOS)[1]
    assert told["family"] == "swin"
    assert told["selectors"][1] == {"block": 3, "keep": 0.5, "grid": [6, 6]}
    assert told["macs"] is None  # it depends on where the kept patches lie
    found = [
        run(capsys, "evaluate", "--model", path, "--data", place / "data", "--keep", RATIOS, *more)[1]
        for more in ((), ("--method", "random"))
    ]
    assert found[0]["mean_macs"] == pytest.approx(found[1]["mean_macs"], rel=0.05)
    assert found[0]["mean_macs"] < 0.9 * found[0]["dense_macs"]
    for model in (path, place / "dense.safetensors"):
        blocks = ("--blocks", "1,3,5,7") if model != path else ()
        status, told, err = run(
            capsys, "bench", "--model", model, "--keep", RATIOS, *blocks, "--batch", 3, "--repeats", 4
        )
        assert status == 0, err
        assert told["rows"][0]["kept"] == [[101, 101], [18, 18], [9, 9], [5, 5]]


def test_finetune_trains_selectors_and_saves_what_predict_reads(capsys, place) -> None:
    status, told, err = run(
        capsys, "finetune", "--model", place / "dense.safetensors", "--data", place / "data", "--out", place / "run",
        "--selectors", "1,3,7", "--targets", "0.7,0.5,0.75", "--epochs", 1, "--batch", 6, "--workers", 0,
    )  # fmt: skip
    assert status == 0, err
    card = read_card(Path(told["weights"]))
    assert card.selectors.blocks == (1, 3, 7)
    assert run(capsys, "predict", place / "data/val/red/000.png", "--model", told["weights"])[0] == 0


def test_a_schedule_says_what_a_photo_costs_at_most(capsys, place) -> None:
    flags = ("schedule", "--model", place / "dense.safetensors", "--targets", "90%")
    status, told, err = run(capsys, *flags)
    assert status == 0, err
    assert told["blocks"] == [3, 4, 5]
    assert main([*map(str, flags)]) == 0
    assert "at most" in capsys.readouterr().out


def test_masked_and_removed_agree_where_they_are_compared_and_masking_saves_nothing() -> None:
    card = dataclasses.replace(TOKEN_SWIN_CARD, selectors=SelectorCard(TOKEN_BLOCKS, KEEP, False))
    decide = top_share(KEEP, (144, 36, 36, 9))
    found = compare_removal(finish(ModelSpec("tiny"), card, swin_token_model()), images(1, size=48), decide, repeats=4)
    assert found.same_decisions
    assert found.logit_gap < 1e-4
    assert found.masked_tokens == (144, 145, 37, 37, 37, 37, 10, 10)
    assert found.removed_macs < found.dense_macs < found.masked_macs
    last = Windows((3, 3), 3, 0)
    assert (dense_pairs(last), masked_pairs(last)) == (81, 9 * 10 + 10)


GRAPH = "Each photo leaves another number of patches in each window"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "--model", "TOKENS", "--keep", RATIOS, "--out", "OUT"), GRAPH),
        (("bench", "--model", "TOKENS", "--keep", RATIOS, "--engine", "compile"), GRAPH),
        (("schedule", "--model", "DENSE", "--data", "DATA", "--targets", "5ms"), "blocks of one width"),
        (("schedule", "--model", "DENSE", "--selectors", "2", "--targets", "0.5"), "where patch merging has just made"),
        (("predict", "PHOTO", "--model", "DENSE", "--keep", "0.5", "--blocks", "9"), "before blocks 1 to 7"),
        (
            ("evaluate", "--model", "TOKENS", "--data", "DATA", "--method", "tome"),
            "merging, fusing",
        ),
    ],
)
def test_what_it_does_not_take_is_one_sentence(capsys, place, arguments, said) -> None:
    names = {
        "DENSE": place / "dense.safetensors",
        "TOKENS": place / "tokens.safetensors",
        "DATA": place / "data",
        "PHOTO": place / "data/val/red/000.png",
        "OUT": place / "out.onnx",
    }
    status, told, err = run(capsys, *(names.get(each, each) for each in arguments))
    assert status == 2, told
    assert told is None
    assert said in err
    assert len(err.strip().splitlines()) == 1
