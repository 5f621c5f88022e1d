"""Class names from a text file, and a model that goes by them."""

import json

import pytest
import torch

from core.__main__ import main
from core.config import ModelSpec
from core.errors import InputError
from core.models.class_lists import parse_classes, read_classes, with_classes
from core.models.load import load
from core.models.weights import save_checkpoint
from core.results import ClassName
from tests.small_assets import SMALL_ASSETS
from tests.tiny import CARD, backbone

PHOTO = SMALL_ASSETS / "samples" / "cat.jpg"


def test_a_line_is_a_name_and_an_imagenet_id_gets_its_description() -> None:
    found = parse_classes("\ufeffking penguin\r\nn02123045 # my cat\nC#\n\n".encode())
    assert found == (ClassName(None, "king penguin"), ClassName("n02123045", "tabby"), ClassName(None, "C#"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe\x00", "no UTF-8 text"),
        (b"cat\n\ndog", "Line 2 of the class names is no name"),
        (b"cat\nd\x00g", "Line 2 of the class names is no name"),
        (b"x" * 101, "longer than 100"),
    ],
)
def test_what_is_no_list_of_names_gets_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        parse_classes(data)
    assert str(caught.value).endswith(".")


def test_names_must_be_as_many_as_the_classes(tmp_path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", backbone(), CARD)
    model = load(ModelSpec(str(tmp_path / "m.safetensors")))
    named = with_classes(model, parse_classes(b"a\nb\nc"))
    assert [c.label for c in named.card.classes] == ["a", "b", "c"]
    assert named.model is model.model
    with pytest.raises(InputError, match="There are 2 class names, but the model knows 3 classes"):
        with_classes(model, parse_classes(b"a\nb"))


def test_a_missing_file_of_names_is_said(tmp_path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_classes(tmp_path / "names.txt")


def test_predict_answers_under_the_names_of_a_file(tmp_path, capsys) -> None:
    save_checkpoint(tmp_path / "m.safetensors", backbone(), CARD)
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    arguments = ["predict", str(PHOTO), "--model", str(tmp_path / "m.safetensors"), "--json", "--device", "cpu"]
    assert main([*arguments, "--classes", str(tmp_path / "names.txt")]) == 0
    named = json.loads(capsys.readouterr().out)["images"][0]["top5"]
    assert main(arguments) == 0
    plain = json.loads(capsys.readouterr().out)["images"][0]["top5"]
    ours = {"red": "ant", "green": "bee", "blue": "cat"}
    assert [g["label"] for g in named] == [ours[g["label"]] for g in plain]
    assert torch.tensor([g["prob"] for g in named]).equal(torch.tensor([g["prob"] for g in plain]))
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert main([*arguments, "--classes", str(tmp_path / "names.txt")]) == 2
    assert "There are 2 class names" in capsys.readouterr().err
