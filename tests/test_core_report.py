"""What answers on a folder are worth, by numbers worked out by hand."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.__main__ import main
from core.config import ModelSpec
from core.evaluation.report import (
    Answers,
    calibration_error,
    class_accuracy,
    confusions,
    on_object,
    paired_interval,
    patches_inside,
)
from core.files.json_text import json_text
from core.inference.trace import trace_tokens
from core.models.load import load
from core.models.weights import save_checkpoint
from core.results import ClassName


def answers(shares: list[list[float]], labels: list[int]) -> Answers:
    return Answers(np.array(shares), np.array(labels), np.ones(len(labels)))


FOUR = answers([[0.9, 0.1, 0], [0.9, 0, 0.1], [0.3, 0.7, 0], [0.2, 0.7, 0.1]], [0, 2, 1, 0])


def test_top_counts_the_likeliest_classes():
    """Right at once: photos 0 and 2; among two: also photos 1 and 3."""
    assert (FOUR.top(1), FOUR.top(2), FOUR.top(3)) == (0.5, 1.0, 1.0)


def test_calibration_error_is_the_mean_gap_of_the_bins():
    """Two photos at 0.9, one right: gap 0.4; two at 0.7, one right: gap 0.2; mean 0.3."""
    assert calibration_error(FOUR) == pytest.approx(0.3)


def test_a_model_that_is_right_as_often_as_it_says_has_no_calibration_error():
    """Four photos at 0.75, three of them right."""
    assert calibration_error(answers([[0.75, 0.25]] * 4, [0, 0, 0, 1])) == pytest.approx(0)


def test_accuracy_per_class_and_the_commonest_mistakes():
    """Class 0: one of two; class 1: one of one; class 2: none; class 3 has no photos."""
    assert class_accuracy(FOUR, 4) == [0.5, 1.0, 0.0, None]
    assert confusions(FOUR) == [(0, 1, 1), (2, 0, 1)]
    assert confusions(FOUR, most=1) == [(0, 1, 1)]


def test_paired_interval_by_hand():
    """Differences 1, 0, 0, 0: mean 1/4, sample deviation 1/2, margin 1.96 x 1/4."""
    found = paired_interval([1, 1, 0, 0], [0, 1, 0, 0])
    assert (found.mean, found.margin) == (0.25, pytest.approx(0.49))
    with pytest.raises(ValueError, match="no pairs"):
        paired_interval([1, 0], [1])


def test_patches_are_inside_by_their_centres():
    """A 2 x 2 grid over 64 pixels: centres at 16 and 48. The last pixels of a box belong to it."""
    assert patches_inside((0, 0, 47, 15), (0, 0, 64, 64), (2, 2)).tolist() == [True, True, False, False]
    assert patches_inside((0, 0, 46, 63), (0, 0, 64, 64), (2, 2)).tolist() == [True, False, True, False]
    assert patches_inside((40, 20, 70, 40), (20, 0, 84, 64), (2, 2)).tolist() == [False] * 4
    assert patches_inside((30, 20, 70, 50), (20, 0, 84, 64), (2, 2)).tolist() == [False, False, True, True]


def test_on_object_by_hand():
    """Photo 0 keeps two of four, one of three inside; photo 1 keeps three, the one inside among them."""
    kept = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    inside = np.array([[0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    found = on_object(kept, inside)
    assert found.photos == 2
    assert found.kept == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.chance == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert found.best == pytest.approx((1 + 1 / 3) / 2)
    assert found.way == pytest.approx((5 / 12 - 1 / 2) / (2 / 3 - 1 / 2))
    with pytest.raises(ValueError, match="no photo"):
        on_object(np.zeros((2, 4), dtype=bool), np.ones((2, 4), dtype=bool))


@given(st.integers(0, 2**16 - 1), st.integers(1, 2**16 - 1))
def test_nothing_is_better_on_the_object_than_the_best(inside, kept):
    """Any mask on any object."""
    masks = [np.array([[bit == "1" for bit in f"{number:016b}"]]) for number in (kept, inside)]
    found = on_object(*masks)
    assert 0 <= found.kept <= found.best <= 1
    assert found.best >= found.chance - 1e-12


@pytest.fixture
def folder(tmp_path):
    """Photos of two classes of the bundled models, and the box of one of them."""
    names = [c.label for c in load(ModelSpec("bundled-tokens"), weights=False).card.classes[:2]]
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / "val" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{i}.png")
    lines = ["file,xmin,ymin,xmax,ymax", f"val/{names[0]}/0.png,0,0,63,31", f"val/{names[0]}/1.png,,,,"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    return tmp_path


def report(capsys, *words: object) -> dict:
    assert main(["report", "--json", "--workers", "0", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_says_what_evaluate_and_the_trace_say(folder, capsys):
    """Top-1, MACs and what lies in the box agree with other ways to find them; both rows are recorded."""
    out = folder / "reports.json"
    flags = ("--data", folder, "--record", out)
    half_kept = ("--model", "bundled-tokens", "--keep", "0.7,0.5,0.25")
    boxes = ("--boxes", folder / "boxes.csv")
    found = report(capsys, *half_kept, "--against", "bundled-dense", *boxes, *flags)
    assert main(["evaluate", "--json", *half_kept, "--data", str(folder), "--workers", "0"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("top1", "top5", "mean_macs", "images")} == pytest.approx(
        {key: same[key] for key in ("top1", "top5", "mean_macs", "images")}
    )
    loaded = load(ModelSpec("bundled-tokens", keep=(0.7, 0.5, 0.25)))
    boxed = folder / "val" / loaded.card.classes[0].label / "0.png"
    with Image.open(boxed) as photo:
        kept = np.asarray(trace_tokens(loaded, photo.convert("RGB")).kept[-1])
    half = len(kept) // 2
    assert found["on_object"]["photos"] == 1
    assert found["on_object"]["chance"] == 0.5
    assert found["on_object"]["kept"] == pytest.approx(kept[:half].sum() / kept.sum())
    dense = report(capsys, "--model", "bundled-dense", *flags)
    assert found["against"]["mean"] == pytest.approx(found["top1"] - dense["top1"])
    assert [row["model"] for row in json.loads(out.read_text())["reports"]] == ["bundled-tokens", "bundled-dense"]


def test_a_model_of_other_classes_is_held_against_on_those_that_both_know(folder, tmp_path, capsys):
    """The same weights under other names: all but one class, in the opposite order, so both say the same there."""
    mine = load(ModelSpec("bundled-dense"))
    names = (*mine.card.classes[1:][::-1], ClassName(None, "something else"))
    model = copy.deepcopy(mine.model)
    head = model.get_classifier()
    order = [*range(len(names) - 1, 0, -1), 0]  # its outputs follow their names; the one renamed is last
    with torch.no_grad():
        for values in (head.weight, head.bias):
            values.copy_(values[order].clone())
    save_checkpoint(tmp_path / "other.safetensors", model, dataclasses.replace(mine.card, classes=names))
    flags = ("--model", "bundled-dense", "--against", tmp_path / "other.safetensors", "--data", folder)
    found = report(capsys, *flags)["against"]
    assert (found["classes"], found["images"]) == (len(names) - 1, 2)  # the other two photos are of the first class
    assert (found["mean"], found["agreement"]) == (0, 1)
    assert found["own_top1"] == found["top1"]
    assert main(["report", "--workers", "0", *map(str, flags)]) == 0
    assert f"the same 2 photos of the {len(names) - 1} classes that both know" in capsys.readouterr().out
    save_checkpoint(
        tmp_path / "none.safetensors",
        model,
        dataclasses.replace(mine.card, classes=tuple(ClassName(None, f"thing {i}") for i in range(len(names)))),
    )
    assert main(["report", "--workers", "0", *map(str, (*flags[:3], tmp_path / "none.safetensors", *flags[4:]))]) == 2
    assert "have no class in common" in capsys.readouterr().err


def test_beside_random_dropping_that_keeps_everything_there_is_no_difference(folder, capsys):
    """Nothing dropped leaves nothing to chance; and half dropped is as many in both, so the answers may differ."""
    flags = ("--model", "bundled-tokens", "--data", folder, "--against-random", "bundled-tokens")
    found = report(capsys, *flags, "--keep", "1,1,1")
    assert (found["against_random"]["mean"], found["against_random"]["margin"]) == (0, 0)
    assert found["against_random"]["top1"] == pytest.approx(found["top1"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "bundled-dense", "--boxes", "{}/boxes.csv"], "keeps all patches"),
        (["--model", "bundled-tokens", "--against-random", "bundled-dense"], "has no selectors where"),
        (["--model", "bundled-tokens", "--boxes", "{}/val"], "no table of boxes"),
        (["--model", "bundled-tokens", "--boxes", "{}/others.csv"], "No photo under"),
        (["--model", "bundled-tokens", "--record", "{}/boxes.csv"], "holds no reports"),
        (["--model", "bundled-tokens", "--batch", "0"], "--batch takes 1"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(folder, capsys, words, said):
    """Exit 2 and one line."""
    (folder / "others.csv").write_text("file,xmin,ymin,xmax,ymax\nelse.png,0,0,1,1")
    command = ["report", "--data", str(folder), "--workers", "0", *(word.format(folder) for word in words)]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert error[-1].startswith("error: ")


def test_one_photo_has_no_interval_and_the_json_stays_json(folder, capsys, recwarn):
    """The deviation of one number is none; JSON has no NaN, and numpy's own warning is nothing for a person."""
    for photo in sorted((folder / "val").rglob("*.png"))[1:]:
        photo.unlink()
    flags = ("--model", "bundled-tokens", "--against", "bundled-dense", "--data", str(folder), "--workers", "0")
    assert main(["report", "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["against"]["margin"] is None
    assert main(["report", *flags]) == 0
    assert " points beside bundled-dense" in capsys.readouterr().out
    assert [str(warned.message) for warned in recwarn.list if warned.category in (RuntimeWarning, UserWarning)] == []


def test_json_text_has_null_for_what_is_no_number():
    assert json_text({"a": [float("nan"), 1.5], "b": (float("inf"), -float("inf"))}) == (
        '{"a": [null, 1.5], "b": [null, null]}'
    )


def test_where_chance_is_the_best_there_is_no_way_to_go():
    """A photo that lies in its box as a whole."""
    assert on_object(np.ones((1, 4), dtype=bool), np.ones((1, 4), dtype=bool)).way is None
