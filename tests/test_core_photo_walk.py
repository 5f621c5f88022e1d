"""Folders of photos as they are found: links, hidden files, other endings, and names in two Unicode forms."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import InputError
from core.models.cards import class_names
from core.photos.class_folders import class_folders, match_folders, photos, read_class_list
from core.photos.walk import one_form, same_names, walk
from core.results import ClassName, told_apart

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def draw(*paths: Path) -> None:
    """A small photo in each file."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path, "PNG")


def names(found: tuple[str, ...], root: Path) -> list[str]:
    """Paths without what they have in common."""
    return [os.path.relpath(path, root) for path in found]


def test_two_links_to_their_own_folder_end_and_each_photo_counts_once(tmp_path) -> None:
    draw(tmp_path / "a" / "1.png", tmp_path / "a" / "deep" / "2.png")
    for link, target in {"a/x": ".", "a/y": ".", "a/deep/up": "../..", "a/deep/again": "../deep"}.items():
        (tmp_path / link).symlink_to(target)
    found = walk([tmp_path / "a"])
    assert names(found.photos[0], tmp_path) == ["a/1.png", "a/deep/2.png"]
    assert found.skipped.sentence == "Skipped 4 links to what is counted already."


def test_a_photo_counts_where_it_lies_whatever_links_lead_there(tmp_path) -> None:
    """The link's folder comes first by name; the photos are of the second one all the same."""
    draw(tmp_path / "b" / "1.png", tmp_path / "elsewhere" / "2.png", tmp_path / "elsewhere" / "3.png")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "of b").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "copy.png").symlink_to(tmp_path / "b" / "1.png")
    (tmp_path / "a" / "linked.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "b" / "linked again.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = walk([tmp_path / "a", tmp_path / "b"])
    assert names(found.photos[0], tmp_path) == ["a/linked.png"]
    assert names(found.photos[1], tmp_path) == ["b/1.png"]
    assert found.skipped.sentence == "Skipped 3 links to what is counted already, 1 link that leads nowhere."


def test_a_folder_of_links_to_other_places_is_read_whole(tmp_path) -> None:
    draw(*(tmp_path / "store" / f"{i}.png" for i in range(3)), tmp_path / "more" / "deep" / "9.png")
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / "a" / f"{i}.png").symlink_to(tmp_path / "store" / f"{i}.png")
    (tmp_path / "a" / "more").symlink_to(tmp_path / "more")
    found = walk([tmp_path / "a"])
    assert names(found.photos[0], tmp_path) == ["a/0.png", "a/1.png", "a/2.png", "a/more/deep/9.png"]
    assert not found.skipped.files


def test_what_is_no_photo_is_counted_with_its_endings(tmp_path) -> None:
    draw(tmp_path / "1.jfif", tmp_path / "2.TIFF", tmp_path / "3.photo", tmp_path / "4")
    draw(tmp_path / ".hidden" / "5.png", tmp_path / "._1.jfif", tmp_path / "__MACOSX" / "6.png")
    for name in ("notes.txt", "more.txt", "camera.dng", "README"):
        (tmp_path / name).write_text("Some text")
    os.mkfifo(tmp_path / "pipe.png")
    found = walk([tmp_path])
    assert names(found.photos[0], tmp_path) == ["1.jfif", "2.TIFF", "3.photo", "4"]
    assert found.skipped.sentence == (
        "Skipped 4 files that are not photos (2 .txt, 1 .dng, 1 without an ending), 1 hidden file."
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_any_web_of_links_between_folders_ends_with_every_photo_once(tmp_path, links) -> None:
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    for i in range(5):
        (root / str(i)).mkdir(parents=True)
        (root / str(i) / "photo.png").touch()
    for at, (source, target) in enumerate(links):
        (root / str(source) / f"link{at}").symlink_to(root / str(target))
    found = walk([root / str(i) for i in range(5)])
    assert [names(part, root) for part in found.photos] == [[f"{i}/photo.png"] for i in range(5)]
    assert found.skipped.links == len(links)


def test_class_folders_are_no_hidden_ones_and_no_links_back(tmp_path) -> None:
    for name in ("a", "b", ".git", "__MACOSX", "@eaDir"):
        (tmp_path / name).mkdir()
    (tmp_path / "self").symlink_to(tmp_path)
    assert class_folders([tmp_path]) == ["a", "b"]


@given(st.text(st.characters(categories=("Ll", "Mn")), min_size=1, max_size=6))
def test_a_name_is_found_in_any_unicode_form(name) -> None:
    for form in ("NFC", "NFD"):
        assert same_names([name], [unicodedata.normalize(form, name)]) == {unicodedata.normalize(form, name): 0}


def test_names_that_are_alike_are_kept_apart() -> None:
    assert NFC != NFD
    assert one_form(NFD) == NFC
    assert same_names([NFD, NFC], [NFC, NFD]) == {NFC: 1, NFD: 0}
    assert same_names(["Fox", "fox"], ["fox", "Fox"]) == {"fox": 1, "Fox": 0}
    assert same_names(["a", NFC], [NFD]) == {NFD: 1}


def classes_of(*folders: str) -> tuple[ClassName, ...]:
    """As a model has them that was trained on these folders."""
    return class_names(folders)


def test_folders_match_classes_in_either_form_and_twins_each_their_own(tmp_path) -> None:
    draw(tmp_path / NFD / "1.png", tmp_path / "dog" / "2.png", tmp_path / "other" / "3.png")
    assert match_folders([tmp_path], classes_of("dog", NFC)) == (["dog", NFD], 1)
    draw(tmp_path / NFC / "4.png")
    folders, left_out = match_folders([tmp_path], classes_of(NFD, "dog", NFC))
    assert (folders, left_out) == ([NFD, "dog", NFC], 1)
    found = photos([tmp_path], folders, None)
    assert {(Path(path).name, label) for path, label in found.samples} == {("1.png", 0), ("2.png", 1), ("4.png", 2)}


def test_training_and_validation_folders_may_be_written_in_two_forms(tmp_path) -> None:
    draw(tmp_path / "val" / NFD / "1.png")
    assert [label for _, label in photos([tmp_path / "val"], ["dog", NFC], None).samples] == [1]


def test_two_classes_of_one_name_are_told_apart(tmp_path) -> None:
    cranes = classes_of("n02012849", "n03126707")
    assert [c.label for c in cranes] == ["crane", "crane"]
    assert told_apart((*cranes, ClassName(None, "fox"), ClassName(None, "crane"))) == (
        "crane (n02012849)",
        "crane (n03126707)",
        "fox",
        "crane (3)",
    )
    draw(tmp_path / "n02012849" / "1.png", tmp_path / "crane" / "2.png")
    with pytest.raises(InputError, match="2 classes named crane; name that folder by its wnid"):
        match_folders([tmp_path], cranes)
    own = (*cranes, ClassName(None, "crane"))  # trained on three folders, one of them named so
    assert match_folders([tmp_path], own) == (["n02012849", "n03126707", "crane"], 0)


def test_two_folders_of_one_class_are_refused_and_not_half_of_them_left_out(tmp_path) -> None:
    draw(tmp_path / "n01443537" / "1.png", tmp_path / "goldfish" / "2.png")
    with pytest.raises(InputError, match="are folders of one class; put them into one"):
        match_folders([tmp_path], classes_of("n01443537"))


def test_a_class_list_is_read_with_spaces_remarks_and_either_form(tmp_path) -> None:
    path = tmp_path / "classes.txt"
    there = ["golden retriever", "red fox", "n01443537", "n01910747", NFD, "C# book", "#1"]
    lines = [
        "\ufeffgolden retriever",
        "red fox # the animal",
        "",
        "# a remark",
        "n01443537 goldfish, one",
        "n01910747# x",
    ]
    path.write_text("\r\n".join([*lines, NFC, "C# book", "#1", "red fox"]), encoding="utf-8")
    assert read_class_list(path, there) == there
    path.write_text("red fox\ngolden hamster # gone\n")
    with pytest.raises(InputError, match="no class folder golden hamster"):
        read_class_list(path, there)
