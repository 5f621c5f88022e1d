"""Several folders of photos taken together, by the commands that train and by those that measure."""

import json
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from core.__main__ import main
from core.errors import InputError
from core.models.cards import SelectorCard, class_names
from core.models.weights import save_checkpoint
from core.photos.class_folders import class_folders, match_folders, photos, split_roots
from core.training.data import limited
from tests import tiny
from tests.tiny import draw_folder

SIZE = ["--img-size", "32", "--stem", "8,16,32", "--width", "32", "--depth", "2", "--heads", "2"]
LOOP = ["--epochs", "1", "--batch", "8", "--workers", "0", "--precision", "no"]
PARTS = {"mine": {"red": range(6), "green": range(6)}, "others": {"green": range(6, 9), "blue": range(6)}}
"""Which photos of a class each folder has."""
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def draw(*paths: Path) -> None:
    """A small photo in each file."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path)


@pytest.fixture
def work(tmp_path) -> Path:
    """All photos in whole/, and the same ones in mine/ (red, green) and others/ (green, blue)."""
    whole = draw_folder(tmp_path / "whole", per_class=9)
    for photo in whole.rglob("*.png"):
        held = [name for name, part in PARTS.items() if int(photo.stem) in part.get(photo.parent.name, ())]
        if not held:
            photo.unlink()
        for name in held:
            place = tmp_path / name / photo.relative_to(whole)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, place)
    return tmp_path


def test_a_class_has_the_photos_of_all_its_folders_and_classes_are_sorted_over_all(tmp_path) -> None:
    a, b = tmp_path / "one", tmp_path / "another"
    draw(a / "dog" / "2.png", a / "dog" / "1.png", a / "ant" / "1.png", b / "dog" / "0.png", b / "cat" / "5.png")
    folders = class_folders([a, b])
    assert folders == ["ant", "cat", "dog"]
    found = [(str(Path(path).relative_to(tmp_path)), label) for path, label in photos([a, b], folders, None).samples]
    assert found == [
        ("one/ant/1.png", 0),
        ("another/cat/5.png", 1),
        ("one/dog/1.png", 2),
        ("one/dog/2.png", 2),
        ("another/dog/0.png", 2),
    ]
    assert match_folders([a, b], class_names(["dog", "cat", "elk"])) == (["dog", "cat", "elk"], 1)


def test_a_name_in_two_unicode_forms_is_one_class_where_the_folders_are_two_people_s(tmp_path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    draw(a / NFC / "1.png", a / "tea" / "1.png", b / NFD / "2.png")
    assert class_folders([a, b]) == [NFC, "tea"]
    assert [label for _, label in photos([a, b], [NFC, "tea"], None).samples] == [0, 0, 1]
    assert match_folders([a, b], class_names([NFD])) == ([NFC], 1)


def test_a_photo_that_a_second_root_links_to_counts_once(tmp_path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    draw(a / "dog" / "1.png", b / "cat" / "1.png")
    (b / "dog").symlink_to(a / "dog")
    found = photos([b, a], ["cat", "dog"], None)
    assert [path for path, _ in found.samples] == [str(b / "cat" / "1.png"), str(a / "dog" / "1.png")]
    assert found.skipped.links == 1


def test_at_most_so_many_photos_of_a_class_are_drawn_evenly_from_all_its_folders(tmp_path) -> None:
    for root, count in (("a", 6), ("b", 2)):
        draw(*(tmp_path / root / "dog" / f"{i}.png" for i in range(count)))
    dogs = photos([tmp_path / "a", tmp_path / "b"], ["dog"], None)
    assert [Path(dogs.samples[i][0]).relative_to(tmp_path).as_posix() for i in limited(dogs, 4).indices] == [
        "a/dog/0.png",
        "a/dog/2.png",
        "a/dog/4.png",
        "b/dog/0.png",
    ]


def test_what_cannot_be_taken_together_is_named(tmp_path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    draw(a / "train" / "goldfish" / "1.png", b / "train" / "n01443537" / "1.png")
    (tmp_path / "again").symlink_to(a)
    with pytest.raises(InputError, match="again/train twice"):
        split_roots([a, b, tmp_path / "again"], "train")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="empty/train holds 0 class folders; at least 1"):
        class_folders(split_roots([a, tmp_path / "empty"], "train"))
    goldfish = class_names(["n01443537"])
    with pytest.raises(InputError, match="folders of one class; give them one name"):
        match_folders([a / "train", b / "train"], goldfish)
    draw(tmp_path / "c" / "elk" / "1.png")
    with pytest.raises(InputError, match=r"No folder under .*c is named after a class that the model knows"):
        match_folders([a / "train", tmp_path / "c"], goldfish)


def test_two_folders_train_the_model_that_one_folder_of_all_their_photos_trains(work) -> None:
    together = ["--data", work / "mine", work / "others"]
    assert run("train", *together, "--out", work / "two", *SIZE, *LOOP) == 0
    assert run("train", "--data", work / "whole", "--out", work / "one", *SIZE, *LOOP) == 0
    two, one = (load_file(work / name / "model.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert all(torch.equal(two[name], one[name]) for name in one)
    assert (work / "two" / "metrics.jsonl").read_text().count('"val_images": 21') == 1


def test_a_run_goes_on_with_the_folders_in_another_order_only_where_that_is_the_same_data(work, capsys) -> None:
    mine, others = work / "mine", work / "others"
    flags = ["--out", work / "out", *SIZE, *LOOP]
    assert run("train", "--data", mine, "--data", others, *flags) == 0
    capsys.readouterr()
    assert run("train", "--data", others, mine, *flags, "--resume") == 2  # green's photos come in another order
    assert "other data (21 and 21 photos of 3 classes" in capsys.readouterr().err
    assert run("train", "--data", mine, *flags, "--resume") == 2
    assert "now 12 and 12 photos of 2 classes" in capsys.readouterr().err
    assert run("train", "--data", work / "whole", *flags, "--resume") == 0  # the same photos in the same order
    for split in ("train", "val"):
        shutil.rmtree(others / split / "green")
    flags = ["--out", work / "apart", *SIZE, *LOOP]
    assert run("train", "--data", mine, others, *flags) == 0
    assert run("train", "--data", others, mine, *flags, "--resume") == 0


def test_a_class_and_a_folder_without_photos_to_judge_on_are_named(work, capsys) -> None:
    shutil.rmtree(work / "others" / "val" / "blue")
    both = ["--data", work / "mine", work / "others"]
    assert run("train", *both, "--out", work / "out", *SIZE, *LOOP) == 0
    assert "val/ has no photo of 1 of 3 classes (blue); epochs are judged on the others." in capsys.readouterr().err
    shutil.rmtree(work / "others" / "val")
    assert run("train", *both, "--out", work / "more", *SIZE, *LOOP) == 0
    said = capsys.readouterr().err
    assert f"No folder 'val' in {work / 'others'}; epochs are judged on the photos of {work / 'mine'}." in said
    assert "of 3 classes (blue)" in said
    shutil.rmtree(work / "mine" / "val")
    assert run("train", *both, "--out", work / "none", *SIZE, *LOOP) == 2
    assert f"{work / 'mine'} and {work / 'others'} have no folder 'val'" in capsys.readouterr().err
    shutil.rmtree(work / "others" / "train")
    assert run("train", *both, "--out", work / "none", *SIZE, *LOOP) == 2
    assert f"{work / 'others'} has no folder 'train'" in capsys.readouterr().err
    assert not (work / "none").exists()


@pytest.fixture
def dense(work) -> Path:
    save_checkpoint(work / "dense.safetensors", tiny.backbone(), tiny.CARD, half=False)
    return work / "dense.safetensors"


def test_pruning_goes_over_all_folders_too(work, dense) -> None:
    for command in (["search", "--budget", "80%"], ["finetune", "--selectors", "1,2", "--targets", "0.6,0.3"]):
        out = work / command[0]
        where = ["--model", dense, "--data", work / "mine", work / "others", "--out", out]
        assert run(*command, *where, *LOOP) == 0
        assert json.loads((out / "settings.json").read_text())["data"]["train"] == 21


def test_an_evaluation_of_two_folders_is_that_of_all_their_photos(work, dense, capsys) -> None:
    def call(command: str, *roots: Path, more: tuple = ()) -> dict:
        assert run(command, "--model", dense, "--data", *roots, "--workers", 0, "--json", *more) == 0
        return json.loads(capsys.readouterr().out)

    for command in ("evaluate", "report"):
        whole, both = call(command, work / "whole"), call(command, work / "mine", work / "others")
        assert both["images"] == 21
        assert both["top1"] == pytest.approx(whole["top1"])
        assert both.get("classes") == whole.get("classes")
    evaluated = call("evaluate", work / "mine", work / "others")
    assert evaluated["data"] == [str(work / "mine"), str(work / "others")]
    assert call("evaluate", work / "mine")["data"] == str(work / "mine")
    peer = ("--method", "tome", "--budget", "80%")
    assert call("evaluate", work / "mine", work / "others", more=peer)["images"] == 21


def test_a_box_is_of_the_photo_in_its_own_folder(work, capsys) -> None:
    card = replace(tiny.CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    save_checkpoint(work / "tokens.safetensors", tiny.token_model(), card, half=False)
    base = ["report", "--json", "--model", work / "tokens.safetensors", "--workers", 0]
    base += ["--data", work / "mine", work / "others", "--boxes"]
    boxes = {
        "both": "val/red/000.png,0,0,31,15\nval/blue/000.png,0,0,31,31",  # the upper half, and all of it
        "green": "val/green/000.png,0,0,31,15",
        "nothing": "",
    }
    for name, lines in boxes.items():
        (work / f"{name}.csv").write_text(f"file,xmin,ymin,xmax,ymax\n{lines}\n")

    def on_object(*tables: str) -> tuple[int, float]:
        assert run(*base, *(work / f"{name}.csv" for name in tables)) == 0
        found = json.loads(capsys.readouterr().out)["on_object"]
        return found["photos"], found["chance"]

    assert on_object("both") == (2, 0.75)
    assert on_object("green") == (1, 0.5)
    shutil.copy(work / "mine" / "val" / "green" / "000.png", work / "others" / "val" / "green")
    assert run(*base, work / "green.csv") == 2
    said = f"val/green/000.png is a photo of {work / 'mine'} and one of {work / 'others'}; give --boxes a table"
    assert said in capsys.readouterr().err
    assert on_object("green", "nothing") == on_object("nothing", "green") == (1, 0.5)
    assert on_object("green", "both") == (2, 0.75)  # of the second table only blue is in its folder
    assert run(*base, *[work / "green.csv"] * 3) == 2
    assert "one for each; not 3 for 2" in capsys.readouterr().err
